"""What the models of phases can do beside their loss: opens marks, asks them, and keeps the answers in the store.

The questions are those of `procray.downstream`; this file decides what a phase's model can be asked, and of which text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procray.errors import CorpusError, ProcrayError, StoreError
from procray.files import digest, may_write, read_json, write_json
from procray.selection.naming import label_of

if TYPE_CHECKING:
    from procray.corpora.tokenizer import Tokenizer
    from procray.downstream.ask import Answer
    from procray.downstream.compression import Compression
    from procray.downstream.harness import TaskAnswer, Tasks
    from procray.downstream.material import Material
    from procray.model import Network
    from procray.store.store import Store

VERSION = 1  # raised when the same model gives other answers than before
TOKENS = 200_000  # of a phase's held-out text, from which items are made


@dataclass(frozen=True)
class Wanted:
    """What is asked.

    Attributes:
        probes, texts: names; None: all that a model can be asked. Empty: none.
        tasks: of lm-eval, with folders of task files of one's own.
        items: of each condition of a probe.
        seed: of the items.
        limit, shots: documents of each task, and solved examples before each question.
    """

    probes: tuple[str, ...] | None = None
    texts: tuple[str, ...] | None = None
    tasks: tuple[str, ...] = ()
    include: tuple[Path, ...] = ()
    items: int = 256
    seed: int = 0
    limit: int | None = None
    shots: int | None = None


@dataclass(frozen=True)
class Subject:
    """A mark whose model is asked. Without a tokenizer its tokens below `symbols` are data."""

    phase: str
    label: str
    step: int
    sha256: str
    model: Network
    symbols: int
    corpus: str = ""  # the digest of the prepared text
    tokenizer: Tokenizer | None = None
    special: dict[str, int] = field(default_factory=dict)
    texts: tuple[str, ...] = field(default=(), repr=False)

    def material(self) -> Material:
        from procray.downstream.material import of_symbols, of_text

        return of_symbols(self.symbols) if self.tokenizer is None else of_text(self.tokenizer, self.texts)


@dataclass(frozen=True)
class Told:
    """What a model said, and in a sentence each what a reader should know."""

    phase: str
    label: str
    step: int
    probes: list[Answer]
    texts: list[Compression]
    tasks: list[TaskAnswer]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        return {
            "phase": self.phase,
            "label": self.label,
            "step": self.step,
            **{name: [one.to_json() for one in getattr(self, name)] for name in ("probes", "texts", "tasks")},
            "notes": self.notes,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Told:
        """What `to_json` gave."""
        from procray.downstream.ask import Answer
        from procray.downstream.compression import Compression
        from procray.downstream.harness import TaskAnswer

        return cls(
            value["phase"],
            value["label"],
            value["step"],
            [Answer.from_json(one) for one in value["probes"]],
            [Compression.from_json(one) for one in value["texts"]],
            [TaskAnswer.from_json(one) for one in value["tasks"]],
            value["notes"],
        )


def open_subject(store: Store, phase: str, step: int | None = None) -> Subject:
    """A mark of a phase with its tokenizer and held-out text, where it was trained on text.

    Raises:
        StoreError: no such mark, or a damaged one.
        CorpusError: the text is not prepared in this store.
    """
    from procray import corpora, tasks
    from procray.model import load_model
    from procray.model.family import changed

    folder = store.phase(phase)
    marks = folder.marks()
    if not marks:
        raise StoreError(f"the store {store} holds no checkpoint of phase '{phase}'")
    step = marks[-1] if step is None else step
    place, sha256 = folder.mark(step), folder.manifest(step).get("sha256", "")
    model, recipe, label = load_model(place), folder.recipe(), label_of(store, phase)
    if recipe is None or "corpus" not in recipe.data:
        symbols = model.config.vocab if recipe is None else tasks.from_recipe(recipe.data["task"]).symbols
        return Subject(phase, label, step, sha256, model, symbols)
    prepared = corpora.load(recipe.data, store.bring_corpus(recipe.data))
    if (
        recipe.interleaving is not None
    ):  # rows of symbols stand behind the text's, and text was never predicted over them
        model.config = changed(model.config, vocab=prepared.vocab_size)
    return Subject(
        phase,
        label,
        step,
        sha256,
        model,
        prepared.vocab_size,
        prepared.digest,
        prepared.tokenizer,
        prepared.manifest["tokenizer"]["special"],
        tuple(prepared.documents(TOKENS)),
    )


def check(subjects: Sequence[Subject], wanted: Wanted) -> Tasks | None:
    """Whether every model can be asked what was named, before any is; gives the tasks of lm-eval with their data.

    Raises:
        ProcrayError: what cannot be asked, all of it in one message; where all that is missing is something of the
            machine (a package, a data set) an EnvironmentProblem.
    """
    from procray.downstream import ask, compression, harness

    problems: list[tuple[str, ProcrayError]] = []

    def note(label: str, what: Callable[..., Any], *given: Any) -> Any:
        try:
            return what(*given)
        except ProcrayError as error:
            problems.append((label, error))

    for one in subjects:
        config, text = one.model.config, one.tokenizer is not None
        if wanted.probes is not None:
            note(one.label, ask.choose, wanted.probes, config, text)
        if wanted.texts:
            for domain in note(one.label, compression.choose, wanted.texts, config, text) or ():
                note(one.label, compression.check_tokenizer, one.tokenizer, domain)
        if wanted.tasks and not text:
            problems.append((one.label, ProcrayError("tasks of lm-eval need a model of text: this has no tokenizer")))
    tasks: Tasks | None = note("", harness.Tasks, wanted.tasks, wanted.include) if wanted.tasks else None
    for one in subjects:
        if tasks is not None:
            note(one.label, tasks.check, one.model.config.context)
    if problems:
        kinds = {error.exit_code for _, error in problems}
        raised = type(problems[0][1]) if len(kinds) == 1 else ProcrayError
        raise raised("\n".join(_lines(problems, [one.label for one in subjects])))
    return tasks


def _lines(problems: list[tuple[str, ProcrayError]], labels: list[str]) -> list[str]:
    """Each problem once, with the phases that have it unless all do."""
    having: dict[str, list[str]] = {}
    for label, error in problems:
        for line in str(error).splitlines():
            having.setdefault(line, []).append(label)
    return [line if who in ([""], labels) else f"{', '.join(who)}: {line}" for line, who in having.items()]


def tell(
    store: Store, subject: Subject, wanted: Wanted, tasks: Tasks | None, say: Callable[[str], None] = lambda line: None
) -> Told:
    """What a model says, from the store if it has been asked before. Answers to local task files are never kept.

    Raises:
        ProcrayError: a probe that was named has no items at all.
    """
    path = _kept(store, subject, wanted, tasks)
    if path is not None and path.is_file():
        try:
            return Told.from_json(read_json(path))
        except (OSError, ValueError, KeyError, TypeError):
            pass  # cut short or of somebody else: ask again
    told = _ask(subject, wanted, tasks, say)
    if path is not None and may_write(path.parent):
        write_json(path, told.to_json())
    return told


def _ask(subject: Subject, wanted: Wanted, tasks: Tasks | None, say: Callable[[str], None]) -> Told:
    from procray.downstream.ask import ask
    from procray.downstream.compression import choose, compress

    model, text = subject.model, subject.tokenizer is not None
    told = Told(subject.phase, subject.label, subject.step, [], [], [], [])
    if wanted.probes is None or wanted.probes:
        answers, notes = ask(
            model,
            subject.material(),
            wanted.probes,
            seed=wanted.seed,
            count=wanted.items,
            say=lambda line: say(f"{subject.label}: {line}"),
        )
        told.probes.extend(answers)
        told.notes.extend(notes)
    if wanted.texts is None and not (text and model.config.rows is None):
        told.notes.append("bits per byte need a model of text, and this one has no tokenizer")
    elif wanted.texts is None or wanted.texts:
        for domain in choose(wanted.texts, model.config, text):
            say(f"{subject.label}: bits per byte of {domain.name}")
            assert subject.tokenizer is not None
            try:
                told.texts.append(compress(model, subject.tokenizer, domain))
            except CorpusError as error:
                if wanted.texts is not None:
                    raise
                told.notes.append(str(error))
    if tasks is not None:
        assert subject.tokenizer is not None
        say(f"{subject.label}: {', '.join(tasks.names)}")
        found, notes = tasks.ask(model, subject.tokenizer, subject.special, limit=wanted.limit, shots=wanted.shots)
        told.tasks.extend(found)
        told.notes.extend(notes)
    return told


def differences(one: Told, other: Told) -> dict[str, list[dict[str, Any]]]:
    """The second less the first, over the items and the pieces of text that both were given, with 95 % intervals."""
    from dataclasses import asdict

    from procray.downstream.paired import compare, compare_texts

    probes = [
        {"probe": b.probe, "value": b.value, **asdict(compare(b, a))}
        for a in one.probes
        for b in other.probes
        if (a.probe, a.value, a.digest) == (b.probe, b.value, b.digest)
    ]
    texts = [
        {"domain": b.domain, "bits_per_byte": asdict(compare_texts(b, a))}
        for a in one.texts
        for b in other.texts
        if a.sha256 == b.sha256
    ]
    return {"probes": probes, "texts": texts}


def _kept(store: Store, subject: Subject, wanted: Wanted, tasks: Tasks | None) -> Path | None:
    from procray.downstream.compression import DOMAINS

    if wanted.include or any(Path(name).is_file() for name in wanted.tasks):
        return None
    asked = {
        "version": VERSION,
        "sha256": subject.sha256,
        "corpus": subject.corpus,
        "probes": wanted.probes,
        "texts": {name: DOMAINS[name].sha256 for name in (DOMAINS if wanted.texts is None else wanted.texts)},
        "named": wanted.texts is not None,
        "items": [wanted.items, wanted.seed],
        "tasks": None if tasks is None else [tasks.version, tasks.names, wanted.limit, wanted.shots],
    }
    return store.path / "analysis" / "downstream" / f"{subject.phase}@{subject.step}-{digest(asked, 8)}.json"
