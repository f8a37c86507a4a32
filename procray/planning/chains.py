"""What the phases of a chain are and what they begin with, read from a sweep's settings; and every check of it.

Facts depend on the axes, never on the seed, and are computed once for each combination of values
that a phase depends on.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from procray.errors import TaskError
from procray.planning import among, models, settings, transfer
from procray.planning.build_task import key_of_problem
from procray.planning.checkpoints import Checkpoints
from procray.planning.data import Data, parameters, text_warmup
from procray.planning.facts import Facts, whole_steps
from procray.planning.fit import Known
from procray.planning.identity import PACED, template
from procray.planning.inheritance import Inheritance
from procray.planning.inspection import Inspection
from procray.planning.relevance import Relevance, restrict
from procray.planning.work import flops_per_step
from procray.spec.cells import Pick
from procray.spec.counts import format_count
from procray.spec.paths import Path
from procray.spec.structure import Link, SweepSpec, Tail
from procray.spec.tails import has_data_among, longer, unshuffled, without_data_among
from procray.training.interleaving import Interleaving
from procray.training.recipe import ModelShape, PhaseRecipe, has_curriculum


class Chains:
    """Facts and inheritance of a sweep's phases; `problems` collects what is wrong.

    Args:
        spec: the settings.
        light: leave the file system alone (for scales that are checked but not used).
    """

    def __init__(self, spec: SweepSpec, light: bool = False):
        self.spec = spec
        self.relevance = Relevance(spec)
        self.inspection = Inspection(spec, light)
        self.problems = self.inspection.problems
        self.checkpoints = Checkpoints(self.inspection)
        self.data = Data(self.inspection)
        self._known = Known(self.inspection, self.checkpoints, self.facts, self.shape)
        # Each by what decides its values: a link, and the values of the axes that matter to it.
        self._facts: dict[tuple[Link, Any], Facts | None] = {}
        self._shapes: dict[tuple[Link, Any], dict[str, Any] | None] = {}
        self._inherited: dict[tuple[Any, ...], Inheritance | None] = {}
        self._longer: dict[tuple[int, int], Tail] = {}
        self._unshuffled: dict[Link, Link] = {}
        self._symbol_rows: dict[Link, int | None] = {}
        self._bare: dict[int, Tail] = {}
        self._real: dict[tuple[int, int], Tail] = {}

    def report(self, path: Path, pick: Pick, message: str) -> None:
        """Notes a problem; of the many cells that find fault with one value, the first speaks."""
        self.inspection.report(path, pick, message)

    def axes_of(self, links: tuple[Link, ...], bare: bool = False) -> frozenset[int]:
        """Every axis that a chain depends on; `bare` for a baseline, as in `Relevance.chain`."""
        return self.relevance.chain(links, bare)

    def facts(self, link: Link, pick: Pick) -> Facts | None:
        """What a phase is in one cell; None where something is wrong with it."""
        axes = self.relevance.own(link)
        key = (link, self.relevance.values(pick, axes))
        if key not in self._facts:
            before = len(self.problems)
            found = self._read(link, restrict(pick, axes))
            self._facts[key] = found if len(self.problems) == before else None
        return self._facts[key]

    def shape(self, link: Link, pick: Pick) -> dict[str, Any] | None:
        """Layers, heads, width and the rest of a phase's model; None where they are impossible or missing."""
        axes = self.relevance.own(link)
        key = (link, self.relevance.values(pick, axes))
        if key not in self._shapes:
            self._shapes[key] = models.read_shape(self.inspection, link, restrict(pick, axes))
        return self._shapes[key]

    def inherit(self, tail: Tail, i: int, before: int | None, pick: Pick) -> Inheritance | None:
        """What link `i` begins with: from link `before`, from the phases that its mode names, from outside."""
        known = self.facts(tail.links[i], pick) is not None  # where something is wrong with it, nothing fits
        key = (id(tail), i, before, known, self.relevance.values(pick, self.relevance.bearing(tail, i)))
        if key not in self._inherited:
            count = len(self.problems)
            axes = self.relevance.chain(tail.links[: i + 1])
            found = transfer.read(self._known, tail, i, before, restrict(pick, axes))
            self._inherited[key] = found if len(self.problems) == count else None
        return self._inherited[key]

    def longer(self, tail: Tail, tokens: int) -> Tail:
        """The tail whose phase after the warm-ups trains so many tokens more; one and the same for one number."""
        key = (id(tail), tokens)
        if key not in self._longer:
            self._longer[key] = longer(tail, tokens)
        return self._longer[key]

    def bare(self, tail: Tail) -> Tail:
        """The tail without the procedural data among its text; one and the same for one tail."""
        if not has_data_among(tail):
            return tail
        if id(tail) not in self._bare:
            self._bare[id(tail)] = without_data_among(tail)
        return self._bare[id(tail)]

    def unshuffled(self, tail: Tail, i: int) -> Tail:
        """The tail with link `i` on its task as it is; one and the same link for one link."""
        link = tail.links[i]
        if link not in self._unshuffled:
            self._unshuffled[link] = unshuffled(link)
        key = (id(tail), i)
        if key not in self._real:
            links = (*tail.links[:i], self._unshuffled[link], *tail.links[i + 1 :])
            self._real[key] = replace(tail, links=links, controls=())
        return self._real[key]

    def followed(self, link: Link, pick: Pick) -> Pick | None:
        """The cell of the warm-up whose steps a text that the grid writes out follows; None where it follows none.

        That is the one beside it in the grid, where there is no other, and where evaluations decide how many tokens
        that one consumes.
        """
        if link.control is not None or link.kind != "procedural":
            return None
        beside = self.data.task_beside(link, pick)
        facts = None if beside is None else self.facts(link, beside)
        return beside if facts is not None and facts.recipe.follows_evaluations else None

    def unused_parameters(self) -> None:
        """Reports the parameters of tasks that no task of their section has."""
        self.data.report_unused_parameters()

    def _read(self, link: Link, pick: Pick) -> Facts | None:
        spec, path, inspection = self.spec, link.section, self.inspection
        section = spec.section(link, pick)
        if not isinstance(section, dict):
            return None
        resources = {**spec.resources, **section.get("resources", {})}
        resources["workers"] = int(resources["workers"])
        shape = self.shape(link, pick)
        source = self.data.read(link, section, pick)
        warm_text = text_warmup(section)
        context = None
        if source is not None:
            shaping = link.control.target if link.control and link.control.target and warm_text else link
            context = (warm_text or {}).get("context") or models.read_context(inspection, shaping, pick, source)
        replaced = self.facts(link.control.of, pick) if link.control and warm_text is not None else None
        followed = replaced
        if replaced is None and warm_text is not None and (beside := self.followed(link, pick)) is not None:
            followed = self.facts(link, beside)
        if warm_text is None or context is None:
            batch = settings.read_batch(inspection, link, section, pick, context)
        elif followed is not None:  # a control: steps of as many tokens as those of the very warm-up
            batch = self._blocks(link, warm_text, followed, context, pick)
        else:
            batch = self.data.text_warmup_batch(link, section, pick, context)
        if source is not None and context is not None:
            self.data.report_too_little(link, source, context, pick)
        settings.check_workers(inspection, link, section, pick, resources, batch)
        budget = section.get("tokens")
        if source is None or context is None or batch is None or budget is None:
            return None
        shuffled = "shuffled" in source.recipe.get("task", {})
        if followed is not None:
            paced = followed.recipe.follows_evaluations
        else:
            ends = settings.read_solved(section) is not None
            paced = link.kind == "procedural" and shuffled and (ends or has_curriculum(source.recipe))
        length = source.mean_tokens or context
        # Text that follows a task has its blocks cut to as many tokens as that has in a step.
        tokens_per_step = followed.tokens_per_step if paced and followed is not None else float(batch * length)
        if budget < tokens_per_step - 1e-9:
            self.report(
                (*path, "tokens"),
                pick,
                f"{format_count(budget)} tokens are less than one step"
                f" ({batch} sequences x {length:g} tokens = {tokens_per_step:.10g})",
            )
        steps = max(1, whole_steps(budget, tokens_per_step))
        optimizer = settings.read_optimizer(
            inspection, link, section.get("optimizer", {}), pick, tokens_per_step, steps
        )
        evaluation = settings.read_evaluation(inspection, link, section, pick, tokens_per_step, budget, source.recipe)
        if optimizer is None or shape is None:
            return None
        precision = spec.value(("precision",), pick)
        if precision not in ("fp32", "bf16"):
            precision = "bf16" if resources["gpu"] > 0 else "fp32"
        recipe = PhaseRecipe(
            kind=link.kind,
            model=ModelShape.from_json({**shape, "context": context}),
            data=source.recipe,
            batch=batch,
            optimizer=optimizer,
            evaluation=evaluation,
            seed=0,
            steps=None if optimizer.schedule == "constant" else steps,
            precision=precision,
            noise=None if source is None else self.data.noise(link, section, pick, source),
        )
        if paced:  # it ends where the other one ends
            recipe = replace(recipe, paced_by=PACED, evaluation=replace(recipe.evaluation, solved=None))
        rows, placing = 0, None
        if link.symbols_of is not None:
            found = self._among(link, pick, recipe, source.vocab, resources, steps, tokens_per_step)
            if found is None:
                return None
            placing, interleaving = found
            rows, recipe = interleaving.rows, replace(recipe, interleaving=interleaving)
        config = recipe.model.config(source.vocab + rows, source.rows)
        unused = (source if replaced is None else replaced).unused | (placing.unused if placing else frozenset())
        try:
            flops = flops_per_step(source.recipe, config, batch, context, resources)
        except TaskError as error:  # what only shows when sequences are drawn
            self.report((*path, key_of_problem(str(error), parameters(section))), pick, str(error))
            return None
        return Facts(
            link=link,
            recipe=recipe,
            template=template(recipe),
            budget=budget,
            tokens_per_step=tokens_per_step,
            vocab=source.vocab + rows,
            rows=source.rows,
            symbols=f"{source.symbols} + {rows}" if rows else source.symbols,
            resources=resources,
            unused=unused | settings.unused_of_schedule(spec, link, optimizer),
            label=source.label,
            flops_per_step=flops,
            paced=paced,
            placing=placing,
        )

    def _among(
        self,
        link: Link,
        pick: Pick,
        recipe: PhaseRecipe,
        vocab: int,
        resources: dict[str, Any],
        steps: int,
        tokens_per_step: float,
    ) -> tuple[among.Placing | None, Interleaving] | None:
        """The procedural data among a phase's text, and where they stand; without any, the rows of their symbols.

        Args:
            vocab: rows of the tokenizer.
        """
        assert link.symbols_of is not None
        if link.symbols_of not in self._symbol_rows:
            self._symbol_rows[link.symbols_of] = among.symbol_rows(self.inspection, self.data, link.symbols_of)
        rows = self._symbol_rows[link.symbols_of]
        if rows is None or link.among is None:
            return None if rows is None else (None, Interleaving(rows))
        data = link.among
        placing = among.read(self.inspection, self.data, data, pick, recipe, vocab + rows, rows, resources)
        if placing is None:
            return None
        found = placing.among(steps, tokens_per_step)
        if isinstance(found, str):
            self.report((*data.section, "mix", "share"), pick, found)
            return None
        return placing, found

    def _blocks(self, link: Link, text: dict[str, Any], replaced: Facts, context: int, pick: Pick) -> int:
        """Blocks in a step of the text that takes the place of a warm-up: of as many tokens, to half a block.

        Where it follows the warm-up step by step a block is cut to as many tokens as are due, so that all of them must
        have room in it, at their longest.
        """
        asked: int | None = text.get("batch")
        if not replaced.recipe.follows_evaluations:
            return asked or max(1, round(replaced.tokens_per_step / context))
        least = math.ceil(replaced.tokens_per_step / context)
        if asked is not None and asked < least:
            entries = enumerate(self.spec.controls)
            where = next((i for i, entry in entries if isinstance(entry, dict) and "text" in entry), 0)
            self.report(
                ("controls", where, "text", "batch") if link.control else (*link.section, "task", "text", "batch"),
                pick,
                f"{asked} blocks of {context} tokens have no room for the {replaced.tokens_per_step:g} tokens of a step"
                f" of {replaced.label}, whose steps it follows; at least {least} have",
            )
        return asked or least
