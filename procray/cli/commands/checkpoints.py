"""Commands on trained weights: look inside, carry them over, bring them in and out."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from procray.cli.options import STORE, Json, StorePath, open_store
from procray.cli.terminal import answer, short_bytes

PHASE = "a label, an id or the beginning of one; @300k after it names the mark at so many tokens, @3606 at a step"


def analyze(
    phases: Annotated[list[str], typer.Argument(metavar="PHASE...", help=f"{PHASE}.")],
    step: Annotated[
        int | None, typer.Option("--step", min=0, help="Which mark; the last one without it, 0 for the beginning.")
    ] = None,
    on: Annotated[
        str | None,
        typer.Option("--on", help="A task ('identity length=8') or 'repeat'; else each phase's validation data."),
    ] = None,
    sequences: Annotated[int | None, typer.Option("--sequences", min=1, help="How many; 64 without it.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="A folder for page and pictures, in place of the store's.")
    ] = None,
    store: StorePath = STORE,
    json: Json = False,
) -> None:
    """Look inside models: attention entropy, induction, weight spectra, and what transfer and training changed."""
    from procray.cli.analysis_view import run_analysis

    typed = {"--step": step, "--on": on, "--sequences": sequences, "--out": out}
    words = ["procray", "analyze", *phases]
    words += [str(word) for pair in typed.items() if pair[1] is not None for word in pair]
    words += ["--store", store] if store != STORE else []
    run_analysis(
        open_store(store),
        phases,
        step=step,
        on=on,
        sequences=sequences,
        out=out,
        json=json,
        command=shlex.join(words),
    )


def probe(
    phases: Annotated[list[str], typer.Argument(metavar="PHASE...", help=f"{PHASE}.")],
    probes: Annotated[
        list[str] | None,
        typer.Option("--probes", metavar="NAME,...", help="Of ours, such as retrieval,hops; 'all' for all of them."),
    ] = None,
    texts: Annotated[
        list[str] | None,
        typer.Option(
            "--texts", metavar="NAME,...", help="Bits per byte of code, prose, mathematics, markup; or 'all'."
        ),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--tasks", metavar="NAME,...", help="Of lm-eval, an optional package; 'small' is a list of ten."),
    ] = None,
    include: Annotated[
        list[Path] | None, typer.Option("--include", help="A folder with task files for lm-eval; may be repeated.")
    ] = None,
    step: Annotated[int | None, typer.Option("--step", min=0, help="Which mark; the last one without it.")] = None,
    items: Annotated[int, typer.Option("--items", min=2, help="Items of each condition of a probe.")] = 256,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the items.")] = 0,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Documents of each task of lm-eval.")] = None,
    shots: Annotated[
        int | None, typer.Option("--shots", min=0, help="Solved examples before each question of lm-eval.")
    ] = None,
    store: StorePath = STORE,
    json: Json = False,
) -> None:
    """Ask models what they can do beside their loss: probes, bits per byte of other text, tasks of lm-eval.

    Without any choice all probes and all texts. Several phases are compared with the first, item by item.
    """
    from procray.cli.probe_view import run_probe
    from procray.report.numbers.probing import Wanted

    chosen = [_names(given) for given in (probes, texts, tasks)]
    nothing = None if all(names is None for names in chosen) else ()
    ours, read = (nothing if names is None else None if names == ("all",) else names for names in chosen[:2])
    wanted = Wanted(ours, read, chosen[2] or (), tuple(include or ()), items, seed, limit, shots)
    run_probe(open_store(store), phases, wanted, step=step, json=json)


def _names(given: list[str] | None) -> tuple[str, ...] | None:
    """Names given one by one or with commas between them."""
    if given is None:
        return None
    return tuple(name.strip() for one in given for name in one.split(",") if name.strip())


def transfer(
    source: Annotated[str, typer.Argument(help=f"A checkpoint folder of any GPT-2, or a phase of the store: {PHASE}.")],
    target: Annotated[str, typer.Argument(help="The checkpoint folder, or the phase, that receives the weights.")],
    output: Annotated[Path, typer.Argument(help="A folder to create.")],
    mode: Annotated[str, typer.Option("--mode", help="full, attention, mlp, any +-list of components.")] = "full",
    store: StorePath = STORE,
) -> None:
    """Carry components of one checkpoint into another, and write the result with its manifest."""
    from procray import files, model
    from procray.errors import TransferError
    from procray.model.outside import weights_digest

    if os.path.exists(output):
        raise TransferError(f"{output} exists already; name a new folder")
    giver, taker = (_checkpoint(text, store) for text in (source, target))
    receiver = model.load_model(taker)
    manifest = model.transfer(model.load_weights(giver), receiver, mode=mode, source_digest=weights_digest(giver))
    model.save_weights(receiver, output)
    files.write_json(output / "transfer.json", manifest)
    counts = manifest["counts"]
    answer(f"{output}: {counts['tensors_carried']} tensors from {source}, {counts['tensors_drawn']} from {target}")


def import_checkpoint(
    source: Annotated[
        str,
        typer.Argument(
            help="A .pth of the papers' official code, a ckpt.pt of nanoGPT, a GPT-2 folder, or hf:NAME@COMMIT."
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="Where to write model.safetensors and config.json.")],
    heads: Annotated[
        int | None, typer.Option("--heads", help="Attention heads, where the width does not tell.")
    ] = None,
) -> None:
    """Convert a checkpoint from outside, as a sweep does that names it as a parent; nothing in it is executed."""
    from procray.model import outside

    known = {} if heads is None else {"heads": heads}
    found = outside.look_up(source if source.startswith(outside.HUB) else {"path": source, **known})
    facts = outside.bring_in(found, folder)
    answer(f"{folder}: {short_bytes(facts['bytes'])}, sha256 {facts['sha256']}")
    for note in facts["outside"].get("notes", ()):
        answer(f"note: {note}")


def export_phase(
    phase: Annotated[str, typer.Argument(help=f"{PHASE}.")],
    folder: Annotated[Path, typer.Argument(help="A folder to create.")],
    step: Annotated[int | None, typer.Option("--step", help="Which mark; the last one without it.")] = None,
    store: StorePath = STORE,
) -> None:
    """Copy a checkpoint out of the store, for transformers; a phase of text brings its tokenizer along."""
    from procray.errors import StoreError
    from procray.selection.naming import find
    from procray.store.export import export_mark

    opened = open_store(store)
    named = find(phase, opened)
    kept = opened.phase(named.phase)
    marks = kept.marks()
    if not marks:
        raise StoreError(f"the store {store} holds no checkpoint of phase {named.phase} ({named.label})")
    step = next((one for one in (named.step, step) if one is not None), marks[-1])
    about = export_mark(opened, kept, step, folder)
    answer(f"{folder}: step {step} of {named.label} ({named.phase}); {about}")


def _checkpoint(text: str, store: str) -> Path:
    """The folder of a checkpoint that is there, or of the mark of a phase."""
    from procray.errors import StoreError
    from procray.selection.naming import find

    if os.path.exists(text):
        return Path(text)
    opened = open_store(store)
    try:
        named = find(text, opened)
    except StoreError as error:
        raise StoreError(f"there is no folder '{text}', and {error}") from None
    marks = opened.phase(named.phase).marks()
    if not marks:
        raise StoreError(f"the store {store} holds no checkpoint of phase {named.phase} ({named.label})")
    return opened.phase(named.phase).mark(marks[-1] if named.step is None else named.step)
