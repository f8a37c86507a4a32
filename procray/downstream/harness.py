"""Tasks of EleutherAI's lm-eval, by name or from local task files, on our models as they are.

The harness is an optional package, `pip install 'procray[lm-eval]'`; pinned, because its numbers change with versions.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import logging
import math
import os
import random
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from procray.corpora.exported_tokenizer import tokenizer_files
from procray.corpora.tokenizer import Tokenizer
from procray.errors import CorpusError, EnvironmentProblem, ProcrayError, did_you_mean

if TYPE_CHECKING:
    from procray.model import Network

PACKAGE = "lm_eval"
_SEED = 1234  # of the harness, where it does not take 0
# Lists of tasks by name, each task with its folder below lm-eval's own: reading all of its 14,000 files takes 10 s.
SUITES: dict[str, dict[str, str]] = {
    "small": {
        "blimp": "blimp",
        "lambada_openai": "lambada",
        "hellaswag": "hellaswag",
        "piqa": "piqa",
        "arc_easy": "arc",
        "sciq": "sciq",
        "copa": "super_glue/copa",
        "openbookqa": "openbookqa",
        "social_iqa": "siqa",
        "race": "race",
    }
}
WORKS_OFFLINE = (
    "Without a network work: data sets that this cache holds already (copy the folder from a machine that has a "
    "network), task files of your own over local files (`--include FOLDER`, with `dataset_path: json`), the "
    "probes, and bits per byte."
)


@dataclass(frozen=True)
class TaskAnswer:
    """What a task, or a group of tasks, says of a model.

    Attributes:
        metrics, errors: the harness's numbers and their standard errors, by `metric,filter` as it names them; numbers
            that it could not estimate are left out.
        items: by metric, one number for each document in their order; nothing of groups.
    """

    task: str
    metrics: dict[str, float]
    errors: dict[str, float]
    items: dict[str, list[float]] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        return {"task": self.task, "metrics": self.metrics, "errors": self.errors, "items": self.items}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TaskAnswer:
        """What `to_json` gave."""
        return cls(value["task"], value["metrics"], value["errors"], value["items"])


def require_package() -> str:
    """The version of lm-eval.

    Raises:
        EnvironmentProblem: it is not installed.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise EnvironmentProblem("tasks of lm-eval need an optional package: pip install 'procray[lm-eval]'")
    return importlib.metadata.version(PACKAGE)


def named(asked: Sequence[str]) -> list[str]:
    """Tasks by name, suites written out, each once."""
    return list(dict.fromkeys(task for name in asked for task in SUITES.get(name, {name: ""})))


class Tasks:
    """Tasks with their data, ready to be asked.

    Args:
        asked: names of tasks, groups or tags of lm-eval, of task files, or of suites of ours.
        include: folders with task files of one's own.

    Raises:
        EnvironmentProblem: lm-eval is not installed, or a data set can neither be found nor downloaded.
        ProcrayError: unknown tasks, all of them in one message; or files that are no task.
    """

    def __init__(self, asked: Sequence[str], include: Sequence[Path] = ()):
        self.version = require_package()
        absent = [str(folder) for folder in include if not folder.is_dir()]
        if absent:
            raise ProcrayError(f"--include: no folder {', '.join(absent)}")
        self.names = named(asked)
        self._manager = _manager(asked, include)
        known = self._manager.all_tasks
        unknown = [name for name in self.names if name not in known and not Path(name).is_file()]
        if unknown:
            raise ProcrayError(
                "\n".join(f"lm-eval has no task '{name}'{did_you_mean(name, known)}" for name in unknown)
            )
        self.loaded: list[Any] = []
        self._shots: dict[str, int | None] = {}  # as the task files say
        problems: list[ProcrayError] = []
        for name in self.names:
            try:
                with contextlib.redirect_stdout(sys.stderr), _quietly(), _seeded():
                    found = self._manager._load_spec(name)
                self.loaded += found if isinstance(found, list) else [found]
            except Exception as error:  # of four libraries; anything may be wrong with a task file
                problems.append(_explained(name, error))
        if problems:
            lacking = [isinstance(problem, EnvironmentProblem) for problem in problems]
            message = "\n".join([*map(str, problems), *([WORKS_OFFLINE] if any(lacking) else [])])
            raise EnvironmentProblem(message) if all(lacking) else ProcrayError(message)

    def check(self, context: int) -> None:
        """Whether a model with so many positions can be asked at all.

        Raises:
            ProcrayError: tasks that want more text than the model has positions, all of them.
        """
        from procray.downstream.harness_model import GENERATED, generation_room

        problems = []
        for name, task in self._manager.load(list(self.loaded))["tasks"].items():
            if task.get_config("output_type") == "generate_until":
                most = (task.get_config("generation_kwargs") or {}).get("max_gen_toks", GENERATED)
                try:
                    generation_room(most, context)
                except ProcrayError as error:
                    problems.append(f"{name}: {error}")
        if problems:
            raise ProcrayError("\n".join(problems))

    def ask(
        self,
        model: Network,
        tokenizer: Tokenizer,
        special: dict[str, int] | None = None,
        *,
        limit: int | None = None,
        shots: int | None = None,
    ) -> tuple[list[TaskAnswer], list[str]]:
        """Asks a model; the numbers are those of `lm_eval run --model hf` on its exported folder.

        Args:
            tokenizer, special: as a corpus's manifest has them; without `special` only a separator.
            limit: documents of each task; all without it.
            shots: solved examples before each question; what the task says without it.

        Returns:
            An answer for each task and group, and in a sentence each what a reader should know.

        Raises:
            ProcrayError: as `check`.
        """
        from lm_eval.evaluator import evaluate

        self.check(model.config.context)
        special = {"separator": tokenizer.separator} if special is None else special
        lm = as_harness_model(model, tokenizer, special)
        # What `lm_eval run` does, but for the notes that it takes of the machine.
        together = self._manager.load(list(self.loaded))
        for name, task in together["tasks"].items():
            own = self._shots.setdefault(name, task.get_config("num_fewshot"))
            task.set_config("num_fewshot", own or 0 if shots is None or own == 0 else shots)
            task.set_fewshot_seed(seed=_SEED)
        with contextlib.redirect_stdout(sys.stderr), _quietly(), _templates_kept(), _seeded():
            found = evaluate(lm=lm, task_dict=together, limit=limit, log_samples=True, fewshot_as_multiturn=True)
        samples = found.get("samples", {})
        answers = [
            TaskAnswer(name, *_numbers(values), _of_items(samples.get(name, []), values))
            for name, values in found["results"].items()
        ]
        notes = []
        if lm.cut:
            notes.append(
                f"{lm.cut:,} requests were longer than the model's {model.config.context} positions, so the beginnings "
                "of their contexts were left out, as the harness does"
            )
        return answers, notes


def as_harness_model(model: Network, tokenizer: Tokenizer, special: dict[str, int]) -> Any:
    """A model for lm-eval's own functions, with the tokenizer that an export writes."""
    from tokenizers import Tokenizer as Library

    from procray.downstream.harness_model import ProcrayLM

    files = tokenizer_files(tokenizer, special, model.config.context)
    library = Library.from_str(json.dumps(files["tokenizer.json"]))
    library.encode_special_tokens = files["tokenizer_config.json"]["split_special_tokens"]
    return ProcrayLM(model, library, tokenizer.separator)


def _manager(asked: Sequence[str], include: Sequence[Path]) -> Any:
    """Knows the task files: those of the folders, and of lm-eval as few as will do."""
    from lm_eval.tasks import TaskManager

    folders = {task: folder for suite in SUITES.values() for task, folder in suite.items()}
    paths = [str(folder) for folder in include]
    own = TaskManager(include_path=paths, include_defaults=False) if paths else None
    names = named(asked)
    left = [name for name in names if not (own and name in own.all_tasks) and not Path(name).is_file()]
    if any(name not in folders for name in left):
        return TaskManager(include_path=paths or None)
    root = Path(sys.modules["lm_eval.tasks"].__file__ or "").parent
    paths = [str(root / folders[name]) for name in left] + paths
    return TaskManager(include_path=paths, include_defaults=False)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """What the harness logs of its progress and of its defaults is nobody's concern."""
    logger = logging.getLogger(PACKAGE)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def _templates_kept() -> Iterator[None]:
    """The harness compiles a task's templates anew for every document; they give the same text compiled once."""
    from lm_eval.utils import env

    env.from_string = lru_cache(maxsize=1024)(env.from_string)
    try:
        yield
    finally:
        del env.from_string  # the method of its class again


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """The seeds that the harness sets, for tasks that draw; the process's own numbers go on as before."""
    before = random.getstate(), np.random.get_state()
    random.seed(0)
    np.random.seed(_SEED)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


def _numbers(values: dict[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """Metrics and their standard errors out of `{"acc,none": 0.5, "acc_stderr,none": 0.1, "alias": ..}`."""
    numbers = {key: value for key, value in values.items() if "," in key and _number(value)}
    errors = {key.replace("_stderr,", ","): float(value) for key, value in numbers.items() if "_stderr," in key}
    return {key: float(value) for key, value in numbers.items() if "_stderr," not in key}, errors


def _of_items(samples: list[dict[str, Any]], values: dict[str, Any]) -> dict[str, list[float]]:
    names = {key.partition(",")[0] for key in values if "," in key and "_stderr," not in key}
    ordered = sorted(samples, key=lambda sample: sample["doc_id"])
    return {
        name: [float(sample[name]) for sample in ordered]
        for name in sorted(names)
        if ordered and all(_number(sample.get(name)) for sample in ordered)
    }


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _explained(name: str, error: Exception) -> ProcrayError:
    """What kept a task from being loaded: the data set that it wanted, where it was looked for, what works instead."""
    first = " ".join(str(error).split())[:300] or type(error).__name__
    within = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    wanted: Any = next((one for one in within if getattr(one, "DATASET_PATH", None)), None)
    if wanted is None:
        return ProcrayError(f"task '{name}' cannot be read: {type(error).__name__}: {first}")
    options = dict(wanted.config.dataset_kwargs or {})
    if files := options.get("data_files"):
        return CorpusError(
            f"task '{name}' reads local files, {json.dumps(files, default=str)}, and they cannot be read: {first}"
        )
    import datasets

    part = f" ({wanted.DATASET_NAME})" if wanted.DATASET_NAME else ""
    cache = options.get("cache_dir") or datasets.config.HF_DATASETS_CACHE
    offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
    return EnvironmentProblem(
        f"task '{name}' needs the data set '{wanted.DATASET_PATH}'{part}, which is neither in the cache {cache} nor to "
        f"be had from the hub{offline}: {first}"
    )
