"""The commands. Heavy imports (torch, Ray, MLflow) stand inside them so that `procray --help` is instant."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procray import __version__
from procray.cli.cluster_command import cluster
from procray.cli.terminal import answer, answer_json, say, short_bytes, short_count, width

if TYPE_CHECKING:
    from procray.planning import Plan
    from procray.store.store import Store

app = typer.Typer(
    name="procray",
    help="Sweeps that measure what procedural pretraining saves.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)
data = typer.Typer(help="Prepare and inspect corpora.", rich_markup_mode=None, no_args_is_help=True)
app.add_typer(data, name="data")
app.add_typer(cluster, name="cluster")
kept = typer.Typer(help="Look after the store.", rich_markup_mode=None, no_args_is_help=True)
app.add_typer(kept, name="store")

File = Annotated[Path, typer.Argument(metavar="FILE", help="A sweep file, such as sweeps/substitutive.yaml.")]
Scale = Annotated[str | None, typer.Option("--scale", help="A named overlay of the file; the first is the default.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a value; may be repeated.")
]
StorePath = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="FOLDER|s3://BUCKET/PREFIX",
        envvar="PROCRAY_STORE",
        help="The place that holds checkpoints and results.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, for machines.")]
STORE = "store"


def load(file: Path, scale: str | None, settings: list[str] | None, store: Store | None = None) -> Plan:
    """The plan of a sweep file; SpecError lists every problem.

    Args:
        store: of a sweep with `select:`, go on with what the search there has chosen; else only the search.
    """
    from procray.planning import load_sweep, plan
    from procray.selection import select

    spec = load_sweep(file, scale=scale, set=settings or [])
    return plan(spec) if store is None else select.staged(spec, store)


def open_store(place: str) -> Store:
    from procray.store.store import Store

    return Store(place)


def sweep_of(phase: str, store: Store) -> Plan:
    """The first sweep of a store that has a phase, named by its id or the beginning of it."""
    from procray.errors import StoreError
    from procray.planning.plan_json import read_plan

    for path in store.plans():
        graph = read_plan(path)
        if any(known.startswith(phase) for known in graph.phases):
            return graph
    raise StoreError(f"no sweep of the store {store} has a phase '{phase}', and there is no such file")


def same_command(file: Path, scale: str | None, settings: list[str] | None, store: str, command: str = "sweep") -> str:
    """The line that a user types to come back to this sweep."""
    typed = Path(sys.argv[0])  # `.venv/bin/procray` where the environment is not activated
    program = str(typed) if typed.name == "procray" and not shutil.which("procray") else "procray"
    words = [program, command, str(file)]
    if scale:
        words += ["--scale", scale]
    for setting in settings or []:
        words += ["--set", setting]
    if store != STORE and "PROCRAY_STORE" not in os.environ:
        words += ["--store", store]
    return shlex.join(words)


def show_version(value: bool) -> None:
    if value:
        answer(__version__)
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Sweeps that measure what procedural pretraining saves."""


@app.command()
def sweep(
    file: File,
    scale: Scale = None,
    set: Settings = None,
    store: StorePath = STORE,
    address: Annotated[
        str | None, typer.Option("--address", help="An existing Ray cluster; a local one is started without it.")
    ] = None,
    max_concurrent: Annotated[
        int | None, typer.Option("--max-concurrent", min=1, help="At most so many phases at once.")
    ] = None,
    max_hours: Annotated[
        float | None, typer.Option("--max-hours", min=0, help="Save and stop, resumable, after so many hours.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try phases again that failed before.")] = False,
    tracking: Annotated[bool, typer.Option("--tracking/--no-tracking", help="Write the runs to MLflow.")] = True,
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="A:B", help="Trace the steps from A to B of whatever is trained.")
    ] = None,
    json: Json = False,
) -> None:
    """Run a sweep, or continue it: the same command goes on wherever it was stopped."""
    from procray.cli.sweep_command import run_sweep
    from procray.training.trace import read_range

    steps = None if profile is None else read_range(profile)
    graph = load(file, scale, set)
    code = run_sweep(
        graph,
        open_store(store),
        file=str(file),
        address=address,
        max_concurrent=max_concurrent,
        max_hours=max_hours,
        retry_failed=retry_failed,
        tracking=tracking,
        profile=steps,
        json=json,
        again=same_command(file, scale, set, store),
        ui=same_command(file, scale, set, store, "ui"),
    )
    raise typer.Exit(code)


@app.command()
def plan(
    file: File,
    scale: Scale = None,
    set: Settings = None,
    store: StorePath = STORE,
    json: Json = False,
) -> None:
    """Show what a sweep would train, what is already there and how long it takes."""
    from procray.cli.plan_view import plan_json, plan_text

    opened = open_store(store)
    graph = load(file, scale, set, opened)
    if json:
        answer_json(plan_json(graph, opened))
        return
    answer(plan_text(graph, opened))


@app.command()
def status(
    file: File,
    scale: Scale = None,
    set: Settings = None,
    store: StorePath = STORE,
    json: Json = False,
    follow: Annotated[bool, typer.Option("--follow", help="Keep the table up to date until it is finished.")] = False,
) -> None:
    """Show every phase of a sweep, running or past."""
    import dataclasses
    import time

    from procray.cli import live

    opened = open_store(store)
    graph = load(file, scale, set, opened)
    watcher = live.Watcher(graph, opened)
    if json:
        answer_json([dataclasses.asdict(r) for r in watcher.rows()])
        return
    if follow:
        with live.watching(graph, opened) as shown:
            while graph.then or not all(r.state in ("done", "failed", "skipped") for r in watcher.rows()):
                time.sleep(1.0)
                if graph.then is not None:  # the search is on: look whether it has come to its end
                    graph = load(file, scale, set, opened)
                    watcher.follow(graph)
                    shown.follow(graph)
    rows = watcher.rows()
    for r in rows:
        answer(live.line(r))
    answer(live.counts(rows))


@app.command()
def report(
    file: File,
    scale: Scale = None,
    set: Settings = None,
    store: StorePath = STORE,
    json: Json = False,
    analyze: Annotated[
        bool, typer.Option("--analyze", help="Look inside one model of each variant too; seconds each, kept for later.")
    ] = False,
) -> None:
    """Write the report of a sweep, also while it runs: curves, tables, lineage, one HTML page."""
    from procray import report as room

    opened = open_store(store)
    paths = room.write_report(load(file, scale, set, opened), opened, file=str(file), analyze=analyze, say=say)
    if json:
        answer_json(room.results_json(paths.results))
    else:
        answer(room.answer(paths.results, paths.page, width=width()))


@app.command()
def lineage(
    what: Annotated[str, typer.Argument(metavar="FILE|PHASE", help="A sweep file, or the id of a phase.")],
    scale: Scale = None,
    set: Settings = None,
    store: StorePath = STORE,
) -> None:
    """Show which checkpoints every phase was made from."""
    from procray import report as room

    opened = open_store(store)
    if Path(what).suffix in (".yaml", ".yml") or Path(what).exists():
        answer(room.lineage_text(load(Path(what), scale, set, opened), opened))
        return
    graph = sweep_of(what, opened)
    answer(room.lineage_text(graph, opened, what))


@app.command()
def analyze(
    phases: Annotated[
        list[str], typer.Argument(metavar="PHASE...", help="Ids, beginnings of ids or labels; @STEP names a mark.")
    ],
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
    from procray.cli.analyze_command import run_analysis

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


@app.command()
def ui(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The sweep to open.")] = None,
    scale: Scale = None,
    set: Settings = None,
    store: StorePath = STORE,
    port: Annotated[int | None, typer.Option("--port", help="A port on 127.0.0.1; a free one without it.")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Start MLflow on this machine's 127.0.0.1 and open it on the sweep's curves."""
    from procray import tracking

    opened = open_store(store)
    tracking.serve(opened, load(file, scale, set, opened) if file else None, port=port, open_browser=browser)


@app.command()
def sync(file: File, scale: Scale = None, set: Settings = None, store: StorePath = STORE) -> None:
    """Write to MLflow whatever it does not have yet of a sweep."""
    from procray import tracking

    opened = open_store(store)
    result = tracking.sync(load(file, scale, set, opened), opened)
    answer(str(result))


@app.command()
def tasks(
    name: Annotated[str | None, typer.Argument(help="A task; without one, all are listed.")] = None,
    parameters: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Parameters, such as length=16.")
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, help="How many samples to show.")] = 4,
    json: Json = False,
) -> None:
    """List the procedural and diagnostic tasks, or show readable samples of one."""
    import yaml

    from procray import tasks as room
    from procray.errors import TaskError

    if name is None:
        known = {task: room.describe(task) for task in room.names()}
        if json:
            answer_json({task: {"summary": about[0], "diagnostic": about[2]} for task, about in known.items()})
            return
        for task, about in known.items():
            answer(f"{task:17} {about[0]}")
        return
    chosen: dict[str, Any] = {}
    for parameter in parameters or []:
        key, equals, value = parameter.partition("=")
        if not equals:
            raise TaskError(f"'{parameter}' is not KEY=VALUE")
        chosen[key] = yaml.safe_load(value)
    chosen_task = room.get(name, **chosen)
    samples = room.samples(chosen_task, count)
    summary, known_parameters, _ = room.describe(name)
    if json:
        answer_json(
            {
                "task": chosen_task.recipe(),
                "vocab": chosen_task.vocab_size,
                "positions": chosen_task.positions,
                "samples": samples,
            }
        )
        return
    answer(f"{name}: {summary}\n")
    for key, (default, meaning) in known_parameters.items():
        answer(f"  {key:10} {meaning} (default {default})")
    answer(f"\n{chosen_task.vocab_size} symbols, up to {chosen_task.positions} positions")
    answer(f"{chosen_task.mean_tokens:g} tokens a sequence\n")
    for sample in samples:
        answer(sample)


@app.command()
def transfer(
    source: Annotated[Path, typer.Argument(help="A checkpoint folder: a mark of the store, or any GPT-2.")],
    target: Annotated[Path, typer.Argument(help="The checkpoint folder that receives the weights.")],
    output: Annotated[Path, typer.Argument(help="A folder to create.")],
    mode: Annotated[str, typer.Option("--mode", help="full, attention, mlp, any +-list of components.")] = "full",
) -> None:
    """Carry components of one checkpoint into another, and write the result with its manifest."""
    from procray import files, model
    from procray.errors import TransferError

    if output.exists():
        raise TransferError(f"{output} exists already; name a new folder")
    receiver = model.load_model(target)
    manifest = model.transfer(
        model.load_weights(source), receiver, mode=mode, source_digest=files.sha256_file(source / "model.safetensors")
    )
    model.save_weights(receiver, output)
    files.write_json(output / "transfer.json", manifest)
    counts = manifest["counts"]
    answer(f"{output}: {counts['tensors_carried']} tensors from {source}, {counts['tensors_drawn']} from {target}")


@app.command("import")
def import_checkpoint(
    source: Annotated[
        str, typer.Argument(help="A .pth of the papers' official code, a GPT-2 folder, or hf:NAME@COMMIT.")
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


@app.command("export")
def export_phase(
    phase: Annotated[str, typer.Argument(help="The id of a phase, as `procray status --json` prints it.")],
    folder: Annotated[Path, typer.Argument(help="A folder to create.")],
    step: Annotated[int | None, typer.Option("--step", help="Which mark; the last one without it.")] = None,
    store: StorePath = STORE,
) -> None:
    """Copy a checkpoint out of the store; GPT2LMHeadModel.from_pretrained loads it."""
    from procray.errors import StoreError
    from procray.files import write_json

    kept = open_store(store).phase(phase)
    marks = kept.marks()
    if not marks:
        raise StoreError(f"the store {store} holds no checkpoint of phase '{phase}'")
    if folder.exists():
        raise StoreError(f"{folder} exists already; name a new folder")
    step = marks[-1] if step is None else step
    place, manifest = kept.mark(step), kept.manifest(step)
    folder.mkdir(parents=True)
    for name in manifest["files"]:  # what the manifest vouches for, and nothing that lies beside it
        shutil.copyfile(place / name, folder / name, follow_symlinks=False)
    write_json(folder / "manifest.json", manifest)
    answer(f"{folder}: step {step} of phase {phase}")


@app.command()
def doctor(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="A sweep whose phases are measured.")] = None,
    scale: Scale = None,
    set: Settings = None,
    store: StorePath = STORE,
    json: Json = False,
) -> None:
    """Check this machine, measure it, and store what `plan` needs for its predictions."""
    from procray.cli.doctor import examine

    facts, problems = examine(open_store(store), load(file, scale, set) if file else None)
    if json:
        answer_json({"facts": facts, "problems": problems})
    else:
        for key, value in facts.items():
            answer(f"{key:22} {value}")
        for problem in problems:
            say(f"problem: {problem}")
    if problems:
        raise typer.Exit(3)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a sweep file, for completion in an editor."""
    from procray.spec import json_schema

    answer_json(json_schema())


@data.command("prepare")
def data_prepare(file: File, scale: Scale = None, set: Settings = None, store: StorePath = STORE) -> None:
    """Tokenise the corpora of a sweep into the store."""
    from procray.execution import prepare_corpora
    from procray.selection.select import foreseen

    for prepared in prepare_corpora(foreseen(load(file, scale, set)), open_store(store), progress=say):
        answer(f"{prepared.digest}  {short_count(prepared.train_tokens)} training tokens")


@data.command("show")
def data_show(
    file: File, scale: Scale = None, set: Settings = None, store: StorePath = STORE, json: Json = False
) -> None:
    """Describe the prepared corpora of a sweep, with a decoded sample."""
    from procray import corpora
    from procray.execution import corpora_of
    from procray.selection.select import foreseen

    opened = open_store(store)
    recipes = corpora_of(foreseen(load(file, scale, set)))
    shown = [corpora.summary(corpora.load(recipe, opened.corpora)) for recipe in recipes]
    if json:
        answer_json(shown)
        return
    for facts in shown:
        for key, value in facts.items():
            answer(f"{key:18} {value}")
        answer("")


@kept.command("ls")
def store_ls(
    store: StorePath = STORE,
    phases: Annotated[bool, typer.Option("--phases", help="One line for every phase.")] = False,
    json: Json = False,
) -> None:
    """List sweeps, phases and corpora with the room they take."""
    from procray.cli.store_command import listing, listing_json
    from procray.store import upkeep

    found = upkeep.contents(open_store(store))
    if json:
        answer_json(listing_json(found))
    else:
        answer(listing(found, store, phases))


@kept.command("verify")
def store_verify(
    store: StorePath = STORE,
    discard: Annotated[
        bool, typer.Option("--discard", help="Remove what is damaged; the next sweep trains it again.")
    ] = False,
    json: Json = False,
) -> None:
    """Read every checkpoint, resume state, journal and corpus and compare it with its digest."""
    from procray.cli.store_command import verify

    raise typer.Exit(verify(open_store(store), discard=discard, json=json))


@kept.command("gc")
def store_gc(
    store: StorePath = STORE,
    delete: Annotated[bool, typer.Option("--delete", help="Delete it; without this it is only listed.")] = False,
    forget: Annotated[
        list[str] | None,
        typer.Option("--forget", metavar="SWEEP@SCALE", help="A sweep that is not wanted any more; may be repeated."),
    ] = None,
    resume_states: Annotated[
        bool,
        typer.Option("--resume-states", help="Also what finished phases keep so that more tokens can be added later."),
    ] = False,
    json: Json = False,
) -> None:
    """Find what no sweep of the store names and nothing that stays was made from."""
    from procray.cli.store_command import collect

    opened = open_store(store)
    raise typer.Exit(collect(opened, delete=delete, forget=tuple(forget or ()), resume_states=resume_states, json=json))
