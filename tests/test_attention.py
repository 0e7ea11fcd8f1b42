"""The program's own KV caches compute what transformers' models compute without a cache."""

import re
from itertools import pairwise

import pytest
import torch
from conftest import FLOAT32
from executorch.runtime import Runtime
from families import CONTEXT, FAMILIES, WINDOW, sequence, stepwise, tiny, whole
from torch import nn
from torch.nn import functional as F

from hydraopt.errors import LoweringError
from hydraopt.lowering.attention import ATTENTION, CACHES, Call
from hydraopt.lowering.backends import find_backend
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.decoder import Decoder, restructure
from hydraopt.lowering.kinds import CausalLM
from hydraopt.lowering.program import export_forward, to_backend, to_executorch
from hydraopt.lowering.settings import ExportSettings

LENGTH = CONTEXT - 1  # the prompt and what follows it, nearly all of the context
# keys of 24 and values of 16 numbers, which not every form takes
LATENT = {
    "num_key_value_heads": 4,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
}


def decoder(family: str, attention: str, **changes) -> Decoder:
    model = tiny(family, **changes)
    settings = CausalLM().resolve(ExportSettings(attention=attention, embedding="none"), model)
    return Decoder(model, restructure(model, settings), settings.max_length, {})


def assert_computes(step, family, **changes):
    """A sequence in pieces, then another from position 0, which knows nothing of the first."""
    model = tiny(family, **changes)
    for seed, length in ((1, LENGTH), (2, 23)):
        ids = sequence(length, seed)
        ends, found = stepwise(step, ids)
        torch.testing.assert_close(found, whole(model, ids)[ends], atol=1e-4, rtol=0)


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("family", FAMILIES)
def test_pieces_with_a_cache_equal_the_whole_without(family, attention):
    module = decoder(family, attention)
    assert_computes(lambda ids, positions: module(ids, positions, {}), family)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "attention"), [("gemma3_text", "llm"), ("mistral", "portable")])
def test_the_program_equals_transformers(family, attention, tmp_path):
    module = decoder(family, attention)
    edge = to_backend({"forward": export_forward(module, {}, CONTEXT - 1)}, find_backend())
    program = to_executorch(edge)
    (tmp_path / "model.pte").write_bytes(program.buffer)
    method = Runtime.get().load_program(tmp_path / "model.pte").load_method("forward")
    assert_computes(lambda ids, positions: method.execute([ids, positions])[0], family)
    nodes = [x for x in program.exported_program("forward").graph.nodes if x.op == "call_function"]
    assert_caches_are_written_where_they_lie(nodes, module, attention)
    # norms and products are all inside the delegate
    assert not [x for x in nodes if re.search(r"mean|rsqrt|linear|mm\b", str(x.target))]


def assert_caches_are_written_where_they_lie(nodes, module, attention):
    """No other operator writes as much as a cache holds, nor keys repeated for groups."""
    caches = [x for x in module.modules() if isinstance(x, CACHES[attention])]
    writers = [str(x.target) for x in nodes if numbers(x) >= caches[0].keys.numel()]
    expected = 2 * len(caches) if attention == "portable" else 0  # update_cache returns a dummy
    assert len(writers) == expected, writers
    assert all("aten.index_put_.default" in name for name in writers)


def numbers(node: torch.fx.Node) -> int:
    """Of the tensor that an operator writes; 0 if it grows with the call or is a view."""
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor) or not isinstance(value.numel(), int):
        return 0
    return 0 if "view" in str(node.target) else value.numel()


def test_windows_are_those_of_the_model_and_masks_are_shared():
    module = decoder("gemma3_text", "portable", num_hidden_layers=4, layer_types=None)
    caches = [x for x in module.modules() if isinstance(x, CACHES["portable"])]
    assert [x.window for x in caches] == [WINDOW] * 4
    module(torch.zeros(1, 3, dtype=torch.int64), torch.arange(3), {})
    assert [mask.shape for mask in module.call.masks.values()] == [(3, CONTEXT)]


@pytest.mark.parametrize("attention", ATTENTION)
def test_a_window_that_covers_the_context_needs_no_mask(attention):
    module = decoder("mistral", attention, sliding_window=CONTEXT)
    assert [x.window for x in module.modules() if hasattr(x, "window")] == [None]


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("window", [None, 64, 600])
def test_long_contexts_of_which_whole_blocks_are_masked(attention, window):
    length, end, scale = 1300, 1240, 0.3  # the operator takes 512 keys at a time
    query, key, value = (torch.randn(1, heads, length, 16) for heads in (4, 2, 2))
    positions = torch.arange(length)
    seen = positions <= positions[:, None]
    if window:
        seen &= positions > positions[:, None] - window
    repeated = (x.repeat_interleave(2, dim=1) for x in (key, value))
    wanted = F.scaled_dot_product_attention(query, *repeated, seen, scale=scale).transpose(1, 2)
    call = Call()
    cache = CACHES[attention](key, value, length, window, call)
    bounds = [0, 700, 1023, 1024, 1025, 1230, *range(1231, end)]
    for start, stop in pairwise(bounds):
        call.begin(positions[start:stop], start)
        found = cache(*(x[:, :, start:stop] for x in (query, key, value)), scale)
        torch.testing.assert_close(found, wanted[:, start:stop], atol=2e-5, rtol=0)


def test_keys_and_values_of_two_sizes_are_for_the_portable_form_only():
    changes = {**LATENT, "first_k_dense_replace": 1}
    module = decoder("deepseek_v3", "portable", **changes)
    assert_computes(lambda ids, positions: module(ids, positions, {}), "deepseek_v3", **changes)
    with pytest.raises(LoweringError, match=r"24 and values of 16 .* portable attention"):
        decoder("deepseek_v3", "llm", **changes)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("bloom", {}, "0 of the 1 layers of this bloom attend through .*AttentionInterface"),
        ("mamba", {}, "0 of the 1 layers of this mamba attend"),
        (
            "lfm2",
            {"num_hidden_layers": 2, "layer_types": ["conv", "full_attention"]},
            "1 of the 2 layers of this lfm2 attend",
        ),
        ("gemma2", {}, "gemma2 takes softcap, which .* lacks"),
        ("gpt_oss", {}, "gpt_oss takes s_aux, which .* lacks"),
        ("llama4_text", {"attention_chunk_size": 8}, "llama4_text masks other keys than"),
        (
            "falcon_h1",
            {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 16},
            "falcon_h1 computes other logits in pieces than as a whole",
        ),
    ],
)
@pytest.mark.parametrize("attention", ATTENTION)
def test_architectures_that_a_cache_cannot_serve_are_refused(family, changes, message, attention):
    with pytest.raises(LoweringError, match=message) as caught:
        decoder(family, attention, **changes)
    assert "cannot be exported" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_refused_base_leaves_nothing(merged, tmp_path):
    sizes = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
    tiny("gemma2", **sizes).save_pretrained(tmp_path / "base")
    with pytest.raises(LoweringError, match="gemma2 takes softcap"):
        export_bundle(merged, str(tmp_path / "base"), tmp_path / "out", FLOAT32)
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_a_model_that_fails_in_its_own_code_is_refused_in_one_line():
    model = tiny("llama")

    class Failing(nn.Module):
        def forward(self, *_, **__):
            raise RuntimeError("no cache\nand more lines")

    model.model.layers[0].mlp = Failing()
    with pytest.raises(LoweringError, match=r"cache of its own \(RuntimeError: no cache\); this"):
        restructure(model, CausalLM().resolve(ExportSettings(embedding="none"), model))


def test_positions_that_only_the_running_call_decides_are_refused(capfd):
    dynamic = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    module = decoder("llama", "llm", rope_parameters=dynamic)
    capfd.readouterr()
    with pytest.raises(
        LoweringError, match=r"not take this base model .* cannot be exported"
    ) as caught:
        export_forward(module, {}, CONTEXT - 1)
    assert "\n" not in str(caught.value)
    assert "GraphModule" not in capfd.readouterr().err
