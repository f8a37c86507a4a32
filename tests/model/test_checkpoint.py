from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file, save_model

from procray.errors import StoreError, TransferError
from procray.model import GPT2Config, layout, load_model, load_weights, save_weights


def tokens(vocab: int = 53) -> torch.Tensor:
    return torch.randint(0, vocab, (3, 17), generator=torch.Generator().manual_seed(5))


def hf_model(hf, **changes):
    torch.manual_seed(0)
    shape = {"vocab_size": 53, "n_positions": 24, "n_embd": 32, "n_layer": 2, "n_head": 4}
    return hf.GPT2LMHeadModel(hf.GPT2Config(**shape | changes, bos_token_id=None, eos_token_id=None)).eval()


def change_config(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("tied", [True, False])
def test_transformers_loads_our_folder_and_gives_the_same_logits(hf, build, tmp_path, tied):
    model = build(tied=tied, pad_vocab=64, dropout=0.1).eval()
    facts = save_weights(model, tmp_path)
    data = (tmp_path / "model.safetensors").read_bytes()
    assert facts == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}  # older transformers refuse a file without it

    theirs, report = hf.GPT2LMHeadModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    assert theirs.config.resid_pdrop == theirs.config.attn_pdrop == theirs.config.embd_pdrop == 0.1
    assert theirs.get_input_embeddings().weight.shape == (53, 32)
    torch.testing.assert_close(model(tokens()), theirs.eval()(tokens()).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("changes", [{}, {"tied": False}, {"rows": 6}, {"layers": 1, "dropout": 0.25}])
def test_saved_weights_come_back_bit_for_bit(build, tmp_path, changes):
    model = build(**changes)
    save_weights(model, tmp_path)
    weights, config = load_weights(tmp_path)
    assert config == model.config
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())


def test_a_loaded_model_is_independent_of_its_file(build, tmp_path):
    saved = build()
    save_weights(saved, tmp_path)
    data = (tmp_path / "model.safetensors").read_bytes()
    model = load_model(tmp_path)
    weights, _ = load_weights(tmp_path)
    assert all(parameter.requires_grad for parameter in model.parameters())
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert torch.equal(model(tokens()), saved(tokens()))
    (tmp_path / "model.safetensors").write_bytes(data)

    with torch.no_grad():
        model.transformer.wpe.weight.zero_()
        weights["transformer.wpe.weight"].zero_()
    assert (tmp_path / "model.safetensors").read_bytes() == data


def test_equal_weights_make_equal_files(build, tmp_path):
    one = save_weights(build(), tmp_path / "one")
    assert one == save_weights(build(pad_vocab=64), tmp_path / "two")
    assert one != save_weights(build(seed=1), tmp_path / "three")


@pytest.mark.parametrize("tied", [True, False])
def test_transformers_folder_loads_without_conversion(hf, tmp_path, tied):
    theirs = hf_model(hf, tie_word_embeddings=tied)
    theirs.save_pretrained(tmp_path)
    model = load_model(tmp_path).eval()
    assert model.config.tied is tied
    torch.testing.assert_close(model(tokens()), theirs(tokens()).logits, atol=1e-5, rtol=0)


def test_sharded_folder_loads(hf, tmp_path):
    theirs = hf_model(hf)
    theirs.save_pretrained(tmp_path, max_shard_size="30KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    torch.testing.assert_close(load_model(tmp_path).eval()(tokens()), theirs(tokens()).logits, atol=1e-5, rtol=0)


def test_bare_names_masks_duplicates_and_half_precision_load(build, tmp_path):
    """As older checkpoints on the hub are: the bare GPT2Model's names, causal masks, a copy of the tied head."""
    model = build()
    save_weights(model, tmp_path)
    old = {
        name.removeprefix("transformer."): tensor for name, tensor in load_file(tmp_path / "model.safetensors").items()
    }
    old["lm_head.weight"] = old["wte.weight"].clone()
    for layer in range(2):
        old[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 24, 24, dtype=torch.uint8).tril()
        old[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    old["score.weight"] = torch.zeros(2, 32)
    old["ln_f.bias"] = old["ln_f.bias"].half()
    save_file(old, tmp_path / "model.safetensors")
    weights, config = load_weights(tmp_path)
    assert config == model.config
    assert weights.keys() == model.state_dict().keys()
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    for name, tensor in model.state_dict().items():
        expected = tensor.half().float() if name == "transformer.ln_f.bias" else tensor
        assert torch.equal(weights[name], expected), name


def test_a_tied_matrix_may_be_stored_under_the_name_of_the_head(hf, build, tmp_path):
    """As `safetensors.torch.save_model` stores it: of two names of one tensor it keeps the first."""
    theirs = hf_model(hf)
    theirs.config.save_pretrained(tmp_path)
    save_model(theirs, str(tmp_path / "model.safetensors"))
    stored = load_file(tmp_path / "model.safetensors")
    assert "lm_head.weight" in stored
    assert "transformer.wte.weight" not in stored
    model = load_model(tmp_path).eval()
    assert model.config.tied
    assert torch.equal(model.transformer.wte.weight, theirs.lm_head.weight)
    torch.testing.assert_close(model(tokens()), theirs(tokens()).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shards", [False, True])
def test_a_head_that_differs_is_one_of_its_own_whatever_the_configuration_says(
    hf, build, tmp_path, caplog, shards, monkeypatch
):
    monkeypatch.setattr(layout, "_PIECE", 100)
    save_weights(build(tied=False), tmp_path)
    change_config(tmp_path, tie_word_embeddings=True)
    if shards:
        whole = load_file(tmp_path / "model.safetensors")
        (tmp_path / "model.safetensors").unlink()
        head = {"lm_head.weight": whole.pop("lm_head.weight")}
        save_file(head, tmp_path / "b.safetensors", metadata={"format": "pt"})
        save_file(whole, tmp_path / "a.safetensors", metadata={"format": "pt"})
        names = dict.fromkeys(whole, "a.safetensors") | {"lm_head.weight": "b.safetensors"}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    theirs = hf.GPT2LMHeadModel.from_pretrained(tmp_path).eval()
    model = load_model(tmp_path).eval()
    assert not model.config.tied
    assert "lm_head.weight differs from the token embedding" in caplog.text
    assert str(tmp_path) in caplog.text
    assert not torch.equal(model.lm_head.weight, model.transformer.wte.weight)
    torch.testing.assert_close(model(tokens()), theirs(tokens()).logits, atol=1e-5, rtol=0)

    theirs.save_pretrained(tmp_path / "again")  # with tie_word_embeddings as it was
    assert torch.equal(load_model(tmp_path / "again").lm_head.weight, model.lm_head.weight)


def test_a_head_that_is_only_a_copy_is_tied_and_nothing_is_said(build, tmp_path, caplog):
    model = build()
    save_weights(model, tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    save_file(stored | {"lm_head.weight": stored["transformer.wte.weight"].clone()}, tmp_path / "model.safetensors")
    assert load_weights(tmp_path)[1] == model.config
    assert not caplog.records


def test_a_folder_of_weights_alone_gives_no_tokenizer(hf, build, tmp_path):
    """transformers makes one of a single entry for a GPT-2 without tokenizer files, which encodes text to nothing."""
    save_weights(build(), tmp_path)
    with pytest.raises((ValueError, OSError)):
        hf.AutoTokenizer.from_pretrained(tmp_path)
    change_config(tmp_path, tokenizer_class=None)
    assert hf.AutoTokenizer.from_pretrained(tmp_path)("text").input_ids == []  # else the line above guards nothing


@pytest.mark.parametrize("kept", [0, 5, 300, -1])
def test_truncated_weights_are_refused(build, tmp_path, kept):
    save_weights(build(), tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(StoreError, match=r"model\.safetensors cannot be read, so it is damaged or cut short"):
        load_weights(tmp_path)


def test_missing_and_broken_files_are_named(build, tmp_path):
    with pytest.raises(StoreError, match=r"config\.json is missing, so .* holds no model"):
        load_weights(tmp_path / "nowhere")
    save_weights(build(), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(StoreError, match=r"model\.safetensors is missing$"):
        load_weights(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(StoreError, match=r"found pytorch_model\.bin: pickled weights are not read"):
        load_weights(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(StoreError, match=r"config\.json cannot be read"):
        load_weights(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(StoreError, match="holds no JSON object"):
        load_weights(tmp_path)


@pytest.mark.parametrize(
    "content", [{}, {"weight_map": {}}, {"weight_map": {"transformer.wte.weight": "../x.safetensors"}}]
)
def test_a_shard_index_cannot_point_elsewhere(build, tmp_path, content):
    save_weights(build(), tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(content))
    with pytest.raises(StoreError, match="does not list the weight files"):
        load_weights(tmp_path)


def test_every_tensor_that_does_not_fit_is_named_with_both_shapes(build, tmp_path):
    save_weights(build(), tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    del weights["transformer.ln_f.weight"]
    weights["transformer.h.2.ln_1.weight"] = torch.ones(32)
    weights["transformer.h.0.mlp.c_fc.bias"] = torch.ones(7)
    weights["transformer.wpe.weight"] = torch.ones(24, 32, dtype=torch.int8)
    save_file(weights, path)
    with pytest.raises(TransferError) as error:
        load_weights(tmp_path)
    text = str(error.value)
    assert "transformer.ln_f.weight: missing" in text
    assert "transformer.h.2.ln_1.weight: unknown" in text
    assert "transformer.h.0.mlp.c_fc.bias: shape (7,), the configuration means (128,)" in text
    assert "transformer.wpe.weight: holds torch.int8" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bloom"}, "model_type is 'bloom'"),
        ({"activation_function": "relu"}, "activation_function is 'relu'"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
        ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon is 1e-06"),
        ({"n_inner": 64}, "n_inner is 64"),
        ({"n_head": 5}, "width 32 cannot be divided among 5 heads"),
        ({"n_layer": "two"}, "layers must be a whole number"),
        ({"n_embd": None}, "width must be a whole number"),
        ({"resid_pdrop": "a lot"}, r"config\.json"),
    ],
)
def test_networks_that_are_not_ours_are_refused(build, tmp_path, changes, message):
    save_weights(build(), tmp_path)
    change_config(tmp_path, **changes)
    with pytest.raises(TransferError, match=message):
        load_weights(tmp_path)


def test_transformers_defaults_stand_where_config_json_is_silent(hf, build, tmp_path):
    save_weights(build(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(
        json.dumps({"model_type": "gpt2", "n_layer": 2, "n_head": 4, "n_embd": 32, "vocab_size": 53, "n_positions": 24})
    )
    _, config = load_weights(tmp_path)
    theirs = hf.GPT2Config.from_pretrained(tmp_path)
    assert config == GPT2Config(2, 4, 32, 53, 24, tied=theirs.tie_word_embeddings, dropout=theirs.resid_pdrop)


def test_row_form_is_no_transformers_model(hf, build, tmp_path):
    save_weights(build(rows=6), tmp_path)
    with pytest.raises(ValueError, match="procray-eca-rows"):
        hf.AutoModelForCausalLM.from_pretrained(tmp_path)
