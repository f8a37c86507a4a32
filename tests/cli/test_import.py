"""`procray import`: the same reading as that of a sweep's outside parent."""

from __future__ import annotations

import json
import textwrap

from procray.model import GPT2, GPT2Config, load_weights, save_weights


def test_a_folder_comes_into_our_format_and_its_pickle_too(command, tmp_path):
    import torch

    model = GPT2(GPT2Config(1, 2, 20, 9, 7), seed=0)
    save_weights(model, tmp_path / "theirs")
    torch.save({"model": model.state_dict()}, tmp_path / "theirs.pth")
    answer = command("import", str(tmp_path / "theirs"), str(tmp_path / "one")).stdout
    assert "sha256" in answer
    command("import", str(tmp_path / "theirs.pth"), str(tmp_path / "two"), "--heads", "2")
    for name in ("one", "two"):
        weights, config = load_weights(tmp_path / name)
        assert (config.heads, config.width) == (2, 20)
        assert all(torch.equal(weights[key], value) for key, value in model.state_dict().items())


def test_what_cannot_be_imported_is_bad_input(command, tmp_path):
    wrong = command("import", "hf:gpt2@main", str(tmp_path / "x"), code=2)
    assert "full commit hash" in wrong.stderr


def test_what_leaves_open_how_to_read_it_is_read_and_said(command, tmp_path):
    """Through `import`, `plan`, and `transfer` alike: a head that differs, under a configuration that calls it tied."""
    model = GPT2(GPT2Config(2, 2, 16, 60, 40, tied=False), seed=0)
    theirs = tmp_path / "theirs"
    save_weights(model, theirs)
    config = json.loads((theirs / "config.json").read_text())
    (theirs / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    said = "lm_head.weight differs from the token embedding"

    assert said in command("import", theirs, tmp_path / "in").stdout
    weights, config = load_weights(tmp_path / "in")
    assert not config.tied
    assert (weights["lm_head.weight"] == model.lm_head.weight).all()

    sweep = tmp_path / "outside.yaml"
    sweep.write_text(
        textwrap.dedent(f"""\
        name: outside
        model: {{layers: 2, heads: 2, width: 16}}
        procedural: {{task: set, length: 6, vocab: 12, batch: 4, tokens: 200, optimizer: {{lr: 1e-3}}}}
        transfer: {{attention: {{path: {theirs}}}, mlp: procedural}}
        diagnostic: {{task: haystack, pairs: 2, batch: 4, tokens: 200, optimizer: {{lr: 1e-3}}}}
        """)
    )
    assert said in " ".join(command("plan", sweep).stdout.split())

    moved = command("transfer", theirs, tmp_path / "in", tmp_path / "both", "--mode", "attention")
    assert said in moved.stderr
    command("transfer", tmp_path / "in", theirs, tmp_path / "back", "--mode", "attention")
    assert not load_weights(tmp_path / "back")[1].tied


def test_a_nanogpt_checkpoint_names_its_layout(command, tmp_path):
    import torch

    model = GPT2(GPT2Config(1, 2, 16, 9, 7), seed=0)
    weights = {
        f"_orig_mod.{name}": tensor.T.contiguous() if ".c_" in name and tensor.dim() == 2 else tensor
        for name, tensor in model.state_dict().items()
    }
    args = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 7, "vocab_size": 9, "dropout": 0.0, "bias": True}
    torch.save({"model": weights, "model_args": args, "iter_num": 1}, tmp_path / "ckpt.pt")
    assert "nanoGPT's layout" in command("import", tmp_path / "ckpt.pt", tmp_path / "in").stdout
    found, _ = load_weights(tmp_path / "in")
    assert all(torch.equal(found[name], tensor) for name, tensor in model.state_dict().items())
