"""The steps of every recipe: compress adapters, export them with their base, check the program."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..adapters import read_adapters
from ..compression import compress
from ..lowering.bundle import export_bundle
from ..lowering.settings import ExportSettings
from ..runtime import verify
from .latency import forward_ms


def export(
    sources: Sequence[str],
    base: str,
    output: Path,
    budget: str,
    settings: ExportSettings,
    *,
    chat_arguments: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> dict[str, object]:
    """Compress and export; compare the model with transformers and the program with PyTorch.

    Args:
        sources: PEFT directories or hub ids.
        base: base model, a directory or hub id.
        output: directory of the bundle.
        budget: byte budget, as of :func:`~hydraopt.compression.compress`.
        settings: export settings.
        chat_arguments: variables of the chat template by name.
        overwrite: whether to replace an existing ``output``.

    Returns:
        ``deviation`` from transformers before quantisation; operators ``outside_xnnpack`` with
        counts; ``program_error``, the program's largest relative error against PyTorch with the
        same weights; ``forward_ms``, milliseconds of a call on this machine.

    Raises:
        HydraOptError: a step failed.
    """
    adapters = read_adapters(sources)
    coded = compress(adapters, budget)
    exported = export_bundle(
        coded, base, output, settings, chat_arguments=chat_arguments, overwrite=overwrite
    )
    verify(output)
    table = next(iter(exported.delegation.values()))
    return {
        "deviation": exported.manifest.deviation,
        "outside_xnnpack": {x.operator: x.not_delegated for x in table if x.not_delegated},
        "program_error": exported.program_error,
        "forward_ms": forward_ms(output),
    }
