from __future__ import annotations

import os
import pickle
import re

import pytest
import torch

from procray.errors import StoreError, TransferError
from procray.model import GPT2, import_official, load_weights


@pytest.fixture(scope="module")
def official(hf, tmp_path_factory):
    """A checkpoint as the released code saves one of size 2_4_16, with the masks of an older transformers."""
    torch.manual_seed(0)
    config = hf.GPT2Config(
        vocab_size=22, n_positions=41, n_embd=16, n_layer=2, n_head=4, bos_token_id=None, eos_token_id=None
    )
    model = hf.GPT2LMHeadModel(config).eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss.backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    weights = model.state_dict()
    for layer in range(2):
        weights[f"transformer.h.{layer}.attn.bias"] = torch.ones(1, 1, 41, 41, dtype=torch.bool).tril()
    content = {
        "epoch": 1,
        "step": 2500,
        "model": weights,
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "val_loss": 0.25,
        "val_acc": 0.99,
    }
    path = tmp_path_factory.mktemp("official") / "set_model.pth"
    torch.save(content, path)
    return path, content, model


def test_an_official_checkpoint_gives_the_same_logits(official, tmp_path):
    path, _, theirs = official
    import_official(path, tmp_path)
    weights, config = load_weights(tmp_path)
    assert (config.layers, config.heads, config.width, config.vocab, config.context) == (2, 4, 16, 22, 41)
    assert config.tied
    model = GPT2(config, seed=1)
    model.load_state_dict(weights)
    x_BT = torch.randint(0, 22, (2, 41))
    torch.testing.assert_close(model.eval()(x_BT), theirs(x_BT).logits, atol=1e-5, rtol=0)


def test_a_head_of_its_own_stays(official, tmp_path):
    _, content, _ = official
    head = torch.randn(22, 16)
    torch.save({"model": content["model"] | {"lm_head.weight": head}}, tmp_path / "x.pth")
    import_official(tmp_path / "x.pth", tmp_path / "out")
    weights, config = load_weights(tmp_path / "out")
    assert not config.tied
    assert torch.equal(weights["lm_head.weight"], head)


class Malicious:
    def __reduce__(self):
        return os.mkdir, (os.environ["PROCRAY_TEST_TRACE"],)


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, 2))])
def test_a_pickle_that_would_run_code_is_refused(tmp_path, monkeypatch, save):
    trace = tmp_path / "it-ran"
    monkeypatch.setenv("PROCRAY_TEST_TRACE", str(trace))
    path = tmp_path / "evil.pth"
    save({"model": {"transformer.wte.weight": Malicious()}}, path)
    with pytest.raises(TransferError, match="could run code when read; it was refused") as refused:
        import_official(path, tmp_path / "out")
    # Nothing of torch's text, which says how such a file is loaded all the same.
    assert not re.search("weights_only|still be loaded|trust", str(refused.value))
    assert not trace.exists()
    assert not (tmp_path / "out").exists()


def test_a_damaged_file_is_named(official, tmp_path):
    with pytest.raises(StoreError, match=r"nothing\.pth is missing"):
        import_official(tmp_path / "nothing.pth", tmp_path / "out")
    path = tmp_path / "cut.pth"
    data = official[0].read_bytes()
    for size in (0, 100, len(data) // 2):
        path.write_bytes(data[:size])
        with pytest.raises((StoreError, TransferError), match=r"cut\.pth"):
            import_official(path, tmp_path / "out")


@pytest.mark.parametrize("content", [{"weights": {}}, [1, 2], {"model": 3}, {"model": {"a": "text"}}])
def test_other_contents_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(TransferError, match="expected a dict with the weights under 'model'"):
        import_official(tmp_path / "x.pth", tmp_path / "out")


def test_weights_of_another_network_are_refused(official, tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"model": {"fc.weight": torch.ones(3)}}, path)
    with pytest.raises(TransferError, match="this is no GPT-2"):
        import_official(path, tmp_path / "out")
    torch.save({"model": {k: v for k, v in official[1]["model"].items() if ".h." not in k}}, path)
    with pytest.raises(TransferError, match="this is no GPT-2"):
        import_official(path, tmp_path / "out")
    torch.save({"model": {k: v for k, v in official[1]["model"].items() if "h.0.ln_1.bias" not in k}}, path)
    with pytest.raises(TransferError, match=r"transformer\.h\.0\.ln_1\.bias: missing"):
        import_official(path, tmp_path / "out")


def test_heads_of_an_unreleased_size_must_be_given(build, tmp_path):
    torch.save({"model": build().state_dict()}, tmp_path / "x.pth")  # width 32
    with pytest.raises(TransferError, match="width 32 is no released size, so the number of heads must be given"):
        import_official(tmp_path / "x.pth", tmp_path / "out")
    import_official(tmp_path / "x.pth", tmp_path / "out", heads=8)
    assert load_weights(tmp_path / "out")[1].heads == 8
