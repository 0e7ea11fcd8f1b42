"""An export has a base's weights as floats once, and each layer's only until it is rounded."""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch
from memory import INTERVAL, peaks_by_stage
from transformers import LlamaConfig, LlamaForCausalLM

from hydraopt.lowering.base_model import load_base
from hydraopt.lowering.check import expect, largest_deviation
from hydraopt.lowering.lowered import float_module
from hydraopt.lowering.quantization import quantize, round_base
from hydraopt.lowering.settings import ExportSettings

pytestmark = pytest.mark.slow

ROUNDING, COMPARING = "Rounding the base model", "Comparing the model with transformers"


def save_wide(directory: Path, vocabulary: int, layers: int) -> int:
    """Write a base of few wide layers in float16; the bytes of its weights as floats."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=layers,
            num_attention_heads=8,
            num_key_value_heads=8,
            max_position_embeddings=64,
            tie_word_embeddings=True,
        )
    )
    model.half().save_pretrained(directory)
    return 4 * sum(weight.numel() for weight in model.parameters())


def peaks(directory: Path) -> dict[str, int]:
    """Load, round, compare and quantise a base; the peaks of anonymous memory above that before.

    To be called in a process of its own.
    """
    load_base(str(directory), str(directory))  # all that is imported
    with peaks_by_stage() as idle:
        time.sleep(5 * INTERVAL)
    (before,) = idle.values()
    with peaks_by_stage() as found, torch.no_grad():
        base = load_base(str(directory), str(directory))
        settings = base.kind.resolve(ExportSettings("8da4w"), base.model)
        rounded = round_base(base.model, settings)
        expected = expect(base, settings, {"task": {}})
        module = float_module(base, settings, {})
        largest_deviation(base.kind, module, expected, lambda _: {})
        quantize(base.model, settings, rounded)
        time.sleep(5 * INTERVAL)
    return {stage: memory.anonymous - before.anonymous for stage, memory in found.items()}


@pytest.mark.parametrize(
    ("vocabulary", "layers", "most"),
    [
        # 1.3 and 1.4 were measured; 2.9 with the rounded weights as floats beside the base's own
        pytest.param(1024, 3, {ROUNDING: 1.6, COMPARING: 2.0}, id="layers"),
        # 1.4 and 2.3, as the head's weight is made of its integers for each use beside the tied
        # embedding; 4.2 and 3.0 with a float copy of the head, and the embedding rounded at once
        pytest.param(32768, 1, {ROUNDING: 2.0, COMPARING: 2.7}, id="embedding"),
    ],
)
def test_memory_of_the_weights_as_floats(tmp_path, vocabulary, layers, most):
    size = save_wide(tmp_path, vocabulary, layers)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(peaks, tmp_path).result()
    shares = {stage: peak / size for stage, peak in found.items()}
    for stage, share in most.items():
        assert shares[stage] < share
