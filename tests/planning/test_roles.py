"""What the phases of a chain are to it, and so what they draw alike."""

from __future__ import annotations

from itertools import combinations

import pytest
from chain_texts import TEXT, WARM, build, links, step

from procray.planning.plan import Plan


def ancestors(graph: Plan, phase: str) -> dict[str, str]:
    """By role, the phases of a chain up to and with this one."""
    found = {graph.phases[phase].recipe.role: phase}
    for parent in graph.phases[phase].parents:
        for role, one in ancestors(graph, parent.phase).items():
            assert found.setdefault(role, one) == one, f"two phases of one chain are {role}"
    return found


def chain(graph: Plan, variant: str, seed: int = 0) -> dict[str, str]:
    cell = next(cell for cell in graph.cells if (cell.variant, cell.seed) == (variant, seed))
    return ancestors(graph, cell.compared)


def test_a_baseline_and_its_variants_are_one_role_and_every_warm_up_is_its_task():
    graph = build(WARM + "transfer: {grid: [full, mlp]}\nmatched: [0.5]\n" + TEXT)
    for phase in graph.phases.values():
        task = phase.recipe.data.get("task", {}).get("name")
        assert phase.recipe.role == ("target/semantic" if task is None else f"warmup/{task}")


def test_targets_share_warm_ups_and_later_phases_are_roles_of_their_own():
    targets = f"""\
targets:
  - name: a
    {TEXT.strip()}
    finetune: {{corpus: c4, tokenizer: byte, tokens: 50k, batch: 8, optimizer: {{lr: 1e-4}}}}
  - name: b
    diagnostic: {{task: haystack, pairs: 4, batch: 8, tokens: 10k, optimizer: {{lr: 1e-3}}}}
"""
    graph = build(WARM + targets)
    assert [*chain(graph, "a/baseline")] == ["target/finetune", "target/semantic"]
    assert [*chain(graph, "b/set")] == ["target/diagnostic", "warmup/set"]
    assert chain(graph, "a/set")["warmup/set"] == chain(graph, "b/set")["warmup/set"]
    alone = build(TEXT)
    assert chain(graph, "a/baseline")["target/semantic"] == chain(alone, "baseline")["target/semantic"]


def test_several_phases_of_one_kind_are_numbered():
    more = "  - {name: more, semantic: {corpus: c4, tokenizer: byte, tokens: 50k, batch: 8, optimizer: {lr: 1e-4}}}\n"
    graph = build(links(step("warm", "set")) + more)
    assert [*chain(graph, "baseline")] == ["target/semantic#1", "target/semantic"]
    (variant,) = [name for name in graph.variants if name != "baseline"]
    assert [*chain(graph, variant)] == ["target/semantic#1", "target/semantic", "warmup/set"]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("union", "union"),
        ("{shuffled: union}", "shuffled-union"),
        ("{mixture: {set: 0.6, union: 0.4}}", "set+union"),
        ("{text: {corpus: c4, tokenizer: byte}}", "text"),
    ],
)
def test_every_form_of_a_warm_up_has_a_role(data, name):
    warm = WARM.replace("{grid: [union, set, sort]}", data)
    graph = build((warm.replace("  length: 8\n", "") if name == "text" else warm) + TEXT)
    assert {phase.recipe.role for phase in graph.phases.values()} == {"target/semantic", f"warmup/{name}"}


def test_two_warm_ups_on_one_task_are_numbered_and_another_task_changes_nothing():
    def roles(*tasks):
        graph = build(links(*(step(f"w{n}", task) for n, task in enumerate(tasks))))
        return [*chain(graph, graph.variants[-1])][:0:-1]

    assert roles("union", "union") == ["warmup/union", "warmup/union#1"]
    assert roles("set", "union", "union") == ["warmup/set", "warmup/union", "warmup/union#1"]
    assert roles("union", "set", "union", "union")[::2] == ["warmup/union", "warmup/union#1"]


def test_another_parent_of_a_composition_changes_none_of_the_others():
    parents = {"attention": "union", "mlp": "union", "ln_1": "set", "ln_2": "union"}
    seen: dict[str, dict[str, str]] = {}
    for many in range(1, len(parents) + 1):
        given = list(parents)[:many]
        warm = [step(part, parents[part], transfer="none") for part in given]
        graph = build(links(*warm, transfer="{" + ", ".join(f"{part}: {part}" for part in given) + "}"))
        variant = graph.variants[-1]
        for seed in (0, 1):
            found = chain(graph, variant, seed)
            assert len(found) == many + 1
            own = {role: phase for role, phase in found.items() if role.startswith("warmup/")}
            assert seen.get(str(seed), {}).items() <= own.items()
            seen[str(seed)] = own
    assert sorted(seen["0"]) == ["warmup/set", "warmup/union", "warmup/union#1", "warmup/union#2"]


def test_parents_named_by_task_never_stand_in_one_role():
    zipped = WARM.replace("[union, set, sort]", "[union, set, {shuffled: union}]").replace(
        "length: 8", "length: {grid: [8, 4, 6]}"
    )
    pairs = "transfer: {attention: {grid: [union, set, shuffled-union]}, mlp: {grid: [union, set, shuffled-union]}}\n"
    graph = build(zipped + "zip: [[procedural.task, procedural.length]]\n" + pairs + TEXT)
    assert len(graph.variants) == 10
    for cell in graph.cells:
        ancestors(graph, cell.compared)
    assert sum(phase.kind == "procedural" for phase in graph.phases.values()) == 3 * 2


def test_a_stand_in_on_the_task_of_another_link_gets_a_number():
    first = step("first", "{grid: [union, set]}", length=4, transfer="none")
    second = step("second", "union", transfer="none")
    graph = build(links(first, second, transfer="{attention: second, mlp: {grid: [first, set]}}"))
    for variant in graph.variants[1:]:
        assert len(chain(graph, variant)) == 3
    both = [cell for cell in graph.cells if cell.axes.get("chain.0.procedural.task") == "union"]
    for cell in both:
        assert {"warmup/union", "warmup/union#1"} <= ancestors(graph, cell.compared).keys()


def test_no_chain_of_a_random_sweep_has_one_role_twice():
    tasks = ("union", "set", "union", "sort")
    for many in (2, 3):
        for chosen in combinations(tasks, many):
            warm = [step(f"w{n}", task, transfer="none" if n % 2 else "") for n, task in enumerate(chosen)]
            for transfer in ("full", "{attention: w0, mlp: w1}", "none"):
                graph = build(links(*warm, transfer=transfer))
                for cell in graph.cells:
                    ancestors(graph, cell.compared)
