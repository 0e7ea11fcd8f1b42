"""Masks of encoders: every layer sees of a text what transformers lets it see, window or not."""

import pytest
import torch
from encoders import ENCODER_ID, save_base, save_lora
from torch.nn import functional as F
from transformers import AttentionMaskInterface, AutoConfig, AutoModel, PreTrainedModel
from transformers.masking_utils import eager_mask

from hydraopt.adapters import read_adapters
from hydraopt.errors import LoweringError
from hydraopt.lowering.base_model import load_base
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.factors import slot_factors
from hydraopt.lowering.kinds.masks import exercising, mask_functions, takes_key_mask
from hydraopt.lowering.lowered import float_module
from hydraopt.lowering.settings import ExportSettings
from hydraopt.merging.private import private
from hydraopt.packing import code_verbatim
from hydraopt.runtime import Session

LENGTH, WINDOW = 48, 4
SIZES = {
    "vocab_size": 258,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
}
LOCAL = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW}
GEMMA = LOCAL | {"num_key_value_heads": 1, "head_dim": 32, "query_pre_attn_scalar": 32}
FAMILIES = {  # settings of each, and the layers that adapters change
    "bert": ({}, ["query", "value"]),
    "roberta": ({}, ["query", "value"]),
    "electra": ({}, ["query", "value"]),
    "albert": ({"embedding_size": 64}, ["query", "value"]),
    "distilbert": ({}, ["q_lin", "v_lin"]),
    "modernbert": (LOCAL | {"sliding_window": None, "local_attention": 2 * WINDOW}, ["Wqkv", "Wo"]),
    "deberta-v2": (
        {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8},
        ["query_proj", "value_proj"],
    ),
    "layoutlm": ({}, ["query", "value"]),
    "esm": ({"mask_token_id": 5, "token_dropout": True}, ["query", "value"]),
    "gemma3_text": (GEMMA | {"use_bidirectional_attention": True}, ["q_proj", "v_proj"]),
    "qwen3": ({"num_key_value_heads": 1, "head_dim": 32}, ["q_proj", "v_proj"]),
}
WITH_KEY_MASK = {"bert", "roberta", "electra", "albert", "distilbert"}
EMBEDDER = {"task_type": "FEATURE_EXTRACTION", "init_lora_weights": False}


def tiny(family: str) -> PreTrainedModel:
    """A random model whose weights are large enough for masks to count."""
    torch.manual_seed(0)
    settings = {k: v for k, v in FAMILIES[family][0].items() if v is not None}
    config = AutoConfig.for_model(family, **(SIZES | settings))
    model = AutoModel.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(4)
    return model


def prepared(family, root):
    """The directories of a base and of an adapter, and PEFT's model."""
    save_base(tiny(family), root / "base")
    settings = EMBEDDER | {"target_modules": FAMILIES[family][1]}
    model = save_lora(root / "one", tiny(family), ENCODER_ID, 0, **settings)
    return root / "base", root / "one", model


def wanted(model, ids, mask):
    """The mean of PEFT's hidden states where the mask is 1, of length 1."""
    with torch.no_grad():
        states = model(input_ids=ids, attention_mask=mask).last_hidden_state
    return F.normalize((states * mask[..., None]).sum(1) / mask.sum())[0]


def texts():
    """Texts, shorter and longer than windows, with and without a hidden end."""
    for length, hidden in [(1, 0), (5, 0), (LENGTH, 0), (LENGTH, 7)]:
        ids = 4 + torch.arange(length)[None] * 7 % 250
        yield ids, (torch.arange(length) < length - hidden).long()[None]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_exported_computes_what_peft_computes(family, tmp_path):
    base, adapter, model = prepared(family, tmp_path)
    coded = code_verbatim(private(read_adapters([adapter])))
    loaded = load_base(str(base), ENCODER_ID, coded.task_type)
    settings = loaded.kind.resolve(ExportSettings(max_length=LENGTH), loaded.model)
    module = float_module(loaded, settings, coded.layout.shapes)
    assert module.by_key == (family in WITH_KEY_MASK)
    factors = slot_factors(coded.task_factors("one"))
    for ids, mask in texts():
        with torch.no_grad():
            found = module(ids, mask, factors)[0]
        torch.testing.assert_close(found, wanted(model, ids, mask), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_a_program_with_windows_computes_what_peft_computes(tmp_path):
    base, adapter, model = prepared("modernbert", tmp_path)
    merged = private(read_adapters([adapter]))
    exported = export_bundle(
        merged, str(base), tmp_path / "bundle", ExportSettings("none", max_length=LENGTH)
    )
    products = [x for x in exported.delegation["forward"] if x.operator in ("bmm", "linear")]
    assert products
    assert not any(x.not_delegated for x in products)
    session = Session.open(tmp_path / "bundle")
    session.switch("one")
    for ids, mask in texts():
        inputs = [ids, mask, *session.factors]
        (found,) = session._current.method.execute(inputs)
        torch.testing.assert_close(found[0], wanted(model, ids, mask), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("family", "tokens"),
    [("bert", 8), ("modernbert", 2 * (WINDOW + 1)), ("gemma3_text", 2 * WINDOW), ("qwen3", 8)],
)
def test_a_text_that_exercises_windows_reaches_over_two(family, tokens):
    model = tiny(family)
    assert exercising(model, LENGTH) == tokens
    assert exercising(model, 6) == 6


def test_a_window_wider_than_the_longest_text_is_none():
    model = tiny("modernbert")
    assert takes_key_mask(model, WINDOW + 1)
    assert not takes_key_mask(model, WINDOW + 2)


def test_looking_at_masks_leaves_transformers_as_it_was():
    model = tiny("bert")
    assert len(mask_functions(model)) == 1
    assert AttentionMaskInterface()["eager"] is eager_mask
    model.forward = lambda **_: 1 / 0
    with pytest.raises(LoweringError, match="bert does not run on token ids and their mask alone"):
        mask_functions(model)
    assert AttentionMaskInterface()["eager"] is eager_mask
