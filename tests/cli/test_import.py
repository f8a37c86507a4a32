"""`procray import`: the same reading as that of a sweep's outside parent."""

from __future__ import annotations

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
