"""Which variants are controls of which, in plans of whole files."""

from procray.planning import load_sweep, plan
from procray.report.numbers.controls import controls_of
from procray.selection.select import foreseen

from ..synthetic import make_plan

HEAD = """name: controls
seeds: [0, 1]
model: {layers: 2, heads: 2, width: 16, context: 64}
"""
WARM = "procedural: {task: %s, length: 8, batch: 16, tokens: %s, optimizer: {lr: 1e-3}}\n"
TAIL = "semantic: {corpus: {files: [CORPUS]}, tokenizer: byte, tokens: 64k, batch_tokens: 1024, optimizer: {lr: %s}}\n"
TEXT = "{text: {corpus: {files: [CORPUS]}, tokenizer: byte}}"


def found(folder, task, tokens="20k", lr="1e-3", rest="transfer: full\n"):
    """By variant and kind the controls, without what follows from the name of the corpus."""
    made = make_plan(folder, HEAD + WARM % (task, tokens) + rest + TAIL % lr)
    names = {name: "/".join("text" if part.startswith("text-") else part for part in name.split("/"))
             for name in made.variants}  # fmt: skip
    return {
        names[one]: {kind: names[other] for kind, other in kinds.items()} for one, kinds in controls_of(made).items()
    }


def test_the_shipped_file_of_controls_is_understood_at_every_scale():
    for scale, task, text in (("laptop", "identity", "python-stdlib"), ("paper", "union", "c4")):
        graph = foreseen(plan(load_sweep("sweeps/controls.yaml", scale=scale)))
        assert controls_of(graph)[f"{task}/intact"] == {
            "text": f"text-{text}/intact",
            "shuffled": f"shuffled-{task}/intact",
            "random": f"{task}/random",
        }
        assert not {f"{task}/{one}" for one in ("noise0.1", "noise0.05", "shuffle", "random")} & set(controls_of(graph))


def test_every_task_has_its_own_shuffled_control_and_shares_the_text(tmp_path):
    task = f"{{grid: [identity, set, {{shuffled: set}}, {{shuffled: identity}}, {TEXT}]}}"
    assert {one: kinds for one, kinds in found(tmp_path, task).items() if not one.startswith("shuffled")} == {
        "identity": {"text": "text", "shuffled": "shuffled-identity"},
        "set": {"text": "text", "shuffled": "shuffled-set"},
    }


def test_noised_text_is_no_control_of_text(tmp_path):
    noised = TEXT.replace("byte}", "byte, noise: 1.0}")
    assert "text" not in found(tmp_path, f"{{grid: [identity, {noised}]}}").get("identity", {})


def test_a_control_has_as_many_tokens_to_a_step(tmp_path):
    task = f"{{grid: [identity, {{shuffled: identity}}, {TEXT}]}}"
    pairs = found(tmp_path, task, "{grid: [20k, 40k]}")
    assert pairs["identity/20k"] == {"text": "text/20k", "shuffled": "shuffled-identity/20k"}
    assert pairs["identity/40k"] == {"text": "text/40k", "shuffled": "shuffled-identity/40k"}
    both = "exclude: [{task: identity, tokens: 20k}, {task: {shuffled: identity}, tokens: 40k}]\ntransfer: full\n"
    pairs = found(tmp_path / "unlike", "{grid: [identity, {shuffled: identity}]}", "{grid: [20k, 40k]}", rest=both)
    assert pairs == {}


def test_a_text_that_does_not_end_with_a_solved_task_is_not_its_control(tmp_path):
    """The task may stop after a fraction of its budget, and the text would have many times its tokens."""
    solved = WARM.replace("optimizer:", "evaluate: {solved: {accuracy: 0.9}}, optimizer:")
    several, one = f"{{grid: [identity, set, {TEXT}]}}", f"{{grid: [identity, {{shuffled: identity}}, {TEXT}]}}"
    for name, task, expected in (("several", several, {}), ("one", one, {"text": "text", "shuffled": "shuffled"})):
        graph = make_plan(tmp_path / name, HEAD + solved % (task, "20k") + "transfer: full\n" + TAIL % "1e-3")
        kinds = controls_of(graph).get("identity", {})
        assert {kind: other.split("-")[0].split("/")[0] for kind, other in kinds.items()} == expected


def test_a_step_of_a_control_may_be_another_and_of_several_the_most_alike_is_meant(tmp_path):
    task = f"{{grid: [identity, {{shuffled: identity}}, {TEXT}]}}"
    for tokens in ("20.5k", "20k", "20.6k"):  # text ends with another step
        assert found(tmp_path / tokens, task, tokens)["identity"]["text"] == "text"
    warm = WARM.replace("lr: 1e-3", "lr: {grid: [1e-3, 1e-2]}") % ("{grid: [{shuffled: identity}, identity]}", "20k")
    made = make_plan(tmp_path / "alike", HEAD + warm + "transfer: full\n" + TAIL % "1e-3")
    assert controls_of(made) == {
        f"identity/{lr}": {"shuffled": f"shuffled-identity/{lr}"} for lr in ("lr1e-3", "lr0.01")
    }


def test_a_control_carries_the_same_and_is_trained_alike(tmp_path):
    task = "{grid: [identity, {shuffled: identity}]}"
    pairs = found(tmp_path, task, lr="{grid: [1e-3, 1e-2]}", rest="transfer: {grid: [full, attention]}\n")
    assert len(pairs) == 4
    for name, kinds in pairs.items():
        assert kinds == {"shuffled": name.replace("identity", "shuffled-identity")}
    apart = "exclude: [{task: identity, transfer: full}, {task: {shuffled: identity}, transfer: attention}]\n"
    rest = apart + "transfer: {grid: [full, attention]}\n"
    assert found(tmp_path / "apart", task, rest=rest) == {}


def test_random_weights_replace_all_that_is_carried(tmp_path):
    pairs = found(tmp_path, "identity", rest="transfer: full\nperturb: {grid: [none, {random: norm_matched}]}\n")
    assert pairs == {"intact": {"random": "random"}}
    part = "{random: norm_matched, components: [mlp]}"
    rest = f"transfer: full\nperturb: {{grid: [none, {part}]}}\n"
    assert found(tmp_path / "part", "identity", rest=rest) == {}
    rest = f"transfer: mlp\nperturb: {{grid: [none, {part}]}}\n"
    (kinds,) = found(tmp_path / "all", "identity", rest=rest).values()
    assert list(kinds) == ["random"]
    rest = "transfer: full\nperturb: {grid: [none, {noise: 0.1}, {shuffle: per_layer}]}\n"
    assert found(tmp_path / "noise", "identity", rest=rest) == {}


def test_of_a_composition_every_parent_is_the_same(tmp_path):
    each = "{grid: [identity, set]}"
    rest = f"transfer: {{attention: {each}, mlp: {each}}}\nperturb: {{grid: [none, {{random: norm_matched}}]}}\n"
    pairs = found(tmp_path, each, rest=rest)
    assert len(pairs) == 4
    assert pairs["attention=identity/mlp=set/intact"] == {"random": "attention=identity/mlp=set/random"}


def test_what_the_plan_names_comes_first(tmp_path):
    made = make_plan(tmp_path, HEAD + WARM % ("{grid: [identity, {shuffled: identity}]}", "20k")
                     + "transfer: full\n" + TAIL % "1e-3")  # fmt: skip
    assert controls_of(made) == {"identity": {"shuffled": "shuffled-identity"}}
    made.controls = {"identity": {"shuffled": "another", "more_semantic": "longer"}}
    assert controls_of(made) == {"identity": {"shuffled": "another", "more_semantic": "longer"}}


def test_heads_that_a_grid_draws_are_the_control_of_those_that_it_names(tmp_path):
    heads, drawn = "{attention: {heads: {0: [1]}}}", "{attention: {random_heads: {0: [1]}}}"
    rest = f"transfer: {{grid: [full, {heads}, {drawn}]}}\n"
    made = make_plan(tmp_path, HEAD + WARM % ("{grid: [identity, set]}", "20k") + rest + TAIL % "1e-3")
    named = {name: kinds["random_heads"] for name, kinds in controls_of(made).items() if "random_heads" in kinds}
    assert len(named) == 2
    for one, other in named.items():
        assert "random" not in one
        assert other == one.replace("attention.", "attention.random-")
