"""Checkpoints from outside: what is meant, how it is identified, how it comes into our format."""

from __future__ import annotations

import json
import shutil
import sys
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from procray.errors import EnvironmentProblem, StoreError, TransferError
from procray.files import digest, sha256_file
from procray.model import load_weights, save_weights
from procray.model.outside import Outside, bring_in, look_up

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(build, tmp_path) -> Path:
    save_weights(build(seed=1), tmp_path / "gpt2-tiny")
    return tmp_path / "gpt2-tiny"


def same(one: Path, other: Path) -> bool:
    (a, first), (b, second) = load_weights(one), load_weights(other)
    return first == second and all(torch.equal(a[name], b[name]) for name in a)


def test_a_folder_is_identified_by_its_weights_and_heads(folder, tmp_path):
    found = look_up({"path": str(folder)})
    assert found.digest == sha256_file(folder / "model.safetensors")
    assert found.id == digest({"outside": found.digest, "heads": 4}, 16)
    assert (found.name, found.config.heads, found.config.layers) == ("gpt2-tiny", 4, 2)
    assert look_up({"path": str(folder / "model.safetensors")}).id == found.id
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert look_up({"path": str(tmp_path / "elsewhere")}).id == found.id
    assert Outside.from_json(json.loads(json.dumps(found.to_json()))) == found
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"n_head": 8}))
    assert look_up({"path": str(folder)}).id != found.id
    with pytest.raises(TransferError, match="has 8 heads, not 4"):
        look_up({"path": str(folder), "heads": 4})


def test_it_comes_in_with_the_same_weights_and_says_where_from(folder, tmp_path):
    found = look_up({"path": str(folder)})
    facts = bring_in(found, tmp_path / "in")
    assert same(folder, tmp_path / "in")
    assert facts["sha256"] == sha256_file(tmp_path / "in" / "model.safetensors")
    assert json.loads((tmp_path / "in" / "outside.json").read_text()) == facts["outside"] == found.to_json()


def test_a_folder_in_pieces_is_one_checkpoint(build, tmp_path):
    save_weights(build(seed=1), tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    weights = load_file(tmp_path / "cut" / "model.safetensors")
    (tmp_path / "cut" / "model.safetensors").unlink()
    names = sorted(weights)
    for n, part in enumerate((names[:9], names[9:]), 1):
        save_file({name: weights[name] for name in part}, tmp_path / "cut" / f"model-{n}.safetensors")
    index = {name: f"model-{1 if name in names[:9] else 2}.safetensors" for name in names}
    (tmp_path / "cut" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    found = look_up({"path": str(tmp_path / "cut")})
    assert found.digest == digest({f"model-{n}.safetensors": sha256_file(tmp_path / "cut" / f"model-{n}.safetensors")
                                   for n in (1, 2)})  # fmt: skip
    bring_in(found, tmp_path / "in")
    assert same(tmp_path / "whole", tmp_path / "in")


def test_a_pickle_of_the_papers_code(build, tmp_path):
    model = build(seed=1)
    torch.save({"model": model.state_dict()}, tmp_path / "set.pth")
    with pytest.raises(TransferError, match="width 32 is no released size"):
        look_up({"path": str(tmp_path / "set.pth")})
    found = look_up({"path": str(tmp_path / "set.pth"), "heads": 4})
    assert (found.name, found.digest) == ("set", sha256_file(tmp_path / "set.pth"))
    bring_in(found, tmp_path / "in")
    weights, config = load_weights(tmp_path / "in")
    assert config.heads == 4
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


def test_what_changed_since_planning_is_refused(folder, build, tmp_path):
    found = look_up({"path": str(folder)})
    save_weights(build(seed=2), folder)
    with pytest.raises(StoreError, match="has changed meanwhile"):
        bring_in(found, tmp_path / "in")
    assert not (tmp_path / "in" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("origin", "error", "message"),
    [
        ({"path": "nowhere"}, StoreError, "nowhere is missing"),
        ({"path": "nowhere.pth"}, StoreError, "nowhere.pth is missing"),
        ("hf:gpt2", TransferError, "full commit hash"),
        ("hf:gpt2@main", TransferError, "a branch or tag can move"),
        (f"hf:@{COMMIT}", TransferError, "hf:NAME@COMMIT"),
        (f"hf:gpt2@{COMMIT[:12]}", TransferError, "40 hex"),
    ],
)
def test_what_is_no_checkpoint(origin, error, message):
    with pytest.raises(error, match=message):
        look_up(origin)


def test_a_folder_of_pickles_or_a_stray_file_says_what_is_missing(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "pytorch_model.bin").touch()
    with pytest.raises(StoreError, match="pickled weights are not read from a folder"):
        look_up({"path": str(tmp_path / "old")})
    (tmp_path / "notes.txt").touch()
    with pytest.raises(TransferError, match=r"neither a folder .* nor a \.pth"):
        look_up({"path": str(tmp_path / "notes.txt")})


@pytest.fixture
def hub(monkeypatch, folder):
    """A hub with one repository; `asked` lists what was asked of it, `cached` whether it is on this machine."""
    state = types.SimpleNamespace(asked=[], cached=False, folder=folder)

    class LocalEntryNotFoundError(Exception):
        pass

    def snapshot_download(name, *, revision, allow_patterns, local_files_only=False):
        state.asked.append((name, revision, local_files_only))
        if local_files_only and not state.cached:
            raise LocalEntryNotFoundError("not in the cache")
        if name != "someone/gpt2-tiny":
            raise RuntimeError("404: no such repository")
        assert "config.json" in allow_patterns
        return str(state.folder)

    module = types.ModuleType("huggingface_hub")
    module.snapshot_download = snapshot_download
    errors = types.ModuleType("huggingface_hub.errors")
    errors.LocalEntryNotFoundError = LocalEntryNotFoundError
    module.errors = errors
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    return state


@pytest.mark.parametrize("cached", [True, False])
def test_a_commit_of_the_hub_is_asked_for_only_when_it_is_brought_in(hub, tmp_path, cached):
    hub.cached = cached
    found = look_up(f"hf:someone/gpt2-tiny@{COMMIT}")
    assert (hub.asked, found.digest, found.config, found.name) == ([], None, None, "gpt2-tiny")
    facts = bring_in(found, tmp_path / "in")
    assert same(hub.folder, tmp_path / "in")
    assert facts["outside"]["digest"] == sha256_file(hub.folder / "model.safetensors")
    assert facts["outside"]["id"] == found.id
    assert facts["outside"]["config"]["layers"] == 2
    assert len(hub.asked) == (1 if cached else 2)


def test_a_commit_whose_files_leave_open_how_to_read_them(hub, build, tmp_path):
    """The head's name for a tied matrix; and a head that differs, under a configuration that calls it tied."""
    weights = load_file(hub.folder / "model.safetensors")
    table = weights.pop("transformer.wte.weight")
    save_file({**weights, "lm_head.weight": table}, hub.folder / "model.safetensors")
    facts = bring_in(look_up(f"hf:someone/gpt2-tiny@{COMMIT}"), tmp_path / "tied")
    found, config = load_weights(tmp_path / "tied")
    assert config.tied
    assert "notes" not in facts["outside"]
    assert torch.equal(found["transformer.wte.weight"], table)

    head = torch.randn(table.shape)
    save_file({**weights, "transformer.wte.weight": table, "lm_head.weight": head}, hub.folder / "model.safetensors")
    facts = bring_in(look_up(f"hf:someone/gpt2-tiny@{COMMIT}"), tmp_path / "untied")
    found, config = load_weights(tmp_path / "untied")
    assert not config.tied
    assert torch.equal(found["lm_head.weight"], head)
    (note,) = facts["outside"]["notes"]
    assert "a head of its own" in note
    assert Outside.from_json(facts["outside"]).notes == [note]
    assert look_up({"path": str(hub.folder)}).notes == [note]
    assert look_up({"path": str(hub.folder)}).config == config


def test_a_hub_that_does_not_answer_is_an_environment_problem(hub, tmp_path):
    with pytest.raises(EnvironmentProblem, match=rf"hf:nobody/x@{COMMIT} cannot be fetched: RuntimeError: 404"):
        bring_in(look_up(f"hf:nobody/x@{COMMIT}"), tmp_path / "in")
