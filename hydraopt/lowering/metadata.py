"""Constant methods that ExecuTorch's LLM runners read from a program.

Names are from ``extension/llm/runner/constants.h`` of ExecuTorch 1.5. ``TextLLMRunner`` (C++,
Python, ``LlmModule`` on Android) requires ``get_max_seq_len``.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from ..errors import require
from .settings import ExportSettings

Metadatum = int | bool | list[int]
NO_METADATA: Mapping[str, Metadatum] = MappingProxyType({})


def runner_metadata(
    settings: ExportSettings, vocabulary: int, eos_ids: Sequence[int], bos_id: int | None
) -> dict[str, Metadatum]:
    """Return method name -> constant for a causal LM.

    Args:
        settings: export settings, resolved.
        vocabulary: number of token ids.
        eos_ids: tokens that end a generation.
        bos_id: the token that begins a text; None leaves it out.
    """
    metadata: dict[str, Metadatum] = {
        "get_max_seq_len": require(settings.prefill_length, "prefill length"),
        "get_max_context_len": require(settings.max_length, "max length"),
        "get_vocab_size": vocabulary,
        "use_kv_cache": True,
        "use_sdpa_with_kv_cache": settings.attention == "llm",
        "enable_dynamic_shape": True,
    }
    if eos_ids:
        metadata["get_eos_ids"] = list(eos_ids)
    if bos_id is not None:
        metadata["get_bos_id"] = bos_id
    return metadata
