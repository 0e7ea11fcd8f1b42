"""What all recipes do: compress adapters, lower them with their base, check the program."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..adapters import read_adapters
from ..compression import compress
from ..lowering.against_base import verify_against
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
    """Compress, lower, and compare the model with transformers and the program with PyTorch.

    Args:
        sources: PEFT directories or hub ids.
        base: directory or hub id of their base model.
        output: bundle to write.
        budget: as ``hydraopt compress --budget`` takes it.
        settings: of the export.
        chat_arguments: variables of the base's chat template by name.
        overwrite: replace an existing ``output``.

    Returns:
        The deviation from transformers before quantising; what XNNPACK did not take; the program's
        largest relative error beside PyTorch; milliseconds of a call of ``forward`` here.

    Raises:
        HydraOptError: as the steps raise it.
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
        "program_error": verify_against(output, base).program_error,
        "forward_ms": forward_ms(output),
    }
