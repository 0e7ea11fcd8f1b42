"""Tiny random models of the architectures that users export, and what they compute."""

from collections.abc import Iterator

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel

CONTEXT = 32
WINDOW = 6
SIZES = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
TWO_KINDS = {  # the first layer with a window, the second one without
    "num_hidden_layers": 2,
    "layer_types": ["sliding_attention", "full_attention"],
    "sliding_window": WINDOW,
}
FAMILIES = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 24},
    "mistral": {"sliding_window": WINDOW, "head_dim": 16},
    "gemma3_text": {**TWO_KINDS, "head_dim": 32, "query_pre_attn_scalar": 20},
    "phi3": {"partial_rotary_factor": 0.5},
}


def tiny(family: str, **changes) -> PreTrainedModel:
    """A random model; its norms' weights and biases are random, too, so that they count."""
    torch.manual_seed(0)
    config = CONFIG_MAPPING[family](**(SIZES | FAMILIES.get(family, {}) | changes))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn(parameter.shape))
    return model


def sequence(length: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, SIZES["vocab_size"], (length,), generator=generator)


def pieces(count: int) -> Iterator[tuple[int, int]]:
    """A prompt in pieces, then token by token."""
    start = 0
    for end in (7, 8, 19, *range(20, count + 1)):
        yield start, end
        start = end


def whole(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    """transformers' own logits after every position, its own attention, without a cache."""
    model.set_attn_implementation("eager")
    with torch.no_grad():
        return model(input_ids=ids[None], use_cache=False).logits[0]


def stepwise(step, ids: torch.Tensor) -> tuple[list[int], torch.Tensor]:
    """The last positions of :func:`pieces`, and what ``step`` gives for each piece."""
    ends, logits = [], []
    for start, end in pieces(len(ids)):
        with torch.no_grad():
            logits.append(step(ids[None, start:end], torch.arange(start, end)).flatten().clone())
        ends.append(end - 1)
    return ends, torch.stack(logits)
