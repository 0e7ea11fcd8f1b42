"""``hydraopt compress``: adapters within a byte budget, or as small as a quality allows."""

from pathlib import Path
from typing import Annotated

import typer

from . import records, report
from .heat_map import heat_map
from .options import (
    ClusterAddress,
    ClusterName,
    EmbeddingName,
    Jobs,
    Json,
    Output,
    Overrides,
    Overwrite,
    SchemeName,
    Sources,
    finite,
)
from .parsing import schemes
from .workers import workers

DEFAULT_BUDGET = "10%"


def compress(
    adapters: Sources,
    compressed: Output,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Byte budget: share of the adapters' fp16 bytes, or a size such as 12MB; "
            "by default 10%."
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="JSON lines to calibrate with: prompt, and task unless for all tasks."),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            callback=finite,
            min=0,
            help="Instead of --budget: smallest size that loses at most this many points.",
        ),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(help="JSON lines of task, prompt and answer that measure --max-drop."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="Base model, directory or hub id: run by --calibration and --max-drop; adapted "
            "layers that it never uses are dropped."
        ),
    ] = None,
    quantize: Annotated[
        SchemeName | None,
        typer.Option(
            help="Calibrate for the base in this scheme, rounded for the same prompts: the packs "
            "make up for a part of its error. Export with the same scheme."
        ),
    ] = None,
    embedding: Annotated[
        EmbeddingName | None,
        typer.Option(help="Scheme of the token embedding; by default that of --quantize."),
    ] = None,
    override: Overrides = None,
    bf16: Annotated[bool, typer.Option("--bf16", help="Calibrate in bfloat16.")] = False,
    mixable: Annotated[
        bool,
        typer.Option("--mixable", help="Let tasks share all rows, so that a session can mix them."),
    ] = False,
    jobs: Jobs = None,
    cluster: ClusterName = None,
    address: ClusterAddress = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Compress the LoRA adapters of one base model to a few per cent of their bytes."""
    from .. import compression
    from ..adapters import read_adapters
    from ..errors import UsageError
    from ..files import check_output, unfinished
    from ..formats.stored import STORED
    from ..lowering.settings import ExportSettings
    from ..sizes import parse_size

    check_output(compressed, STORED, overwrite=overwrite)
    if max_drop is not None and (budget or calibration):
        option = "--budget" if budget else "--calibration"
        raise UsageError(f"--max-drop finds the budget and does not calibrate; drop {option}")
    if (max_drop is None) == (validation is not None):
        raise UsageError("--max-drop and --validation go together; pass both or none of them")
    if (calibration or validation) and not base:
        raise UsageError("--calibration and --max-drop run the base model; pass --base")
    if bf16 and not calibration:
        raise UsageError("--bf16 goes with --calibration; drop it")
    if quantize and not calibration:
        raise UsageError("--quantize calibrates for a quantised base; pass --calibration too")
    if (embedding or override) and not quantize:
        option = "--embedding" if embedding else "--override"
        raise UsageError(f"{option} goes with --quantize; pass --quantize too")
    overrides = schemes("--override", override or ())
    settings = ExportSettings(quantize, embedding, overrides=overrides) if quantize else None
    if max_drop is None:
        parse_size(budget or DEFAULT_BUDGET, 1)  # before anything is read
    with unfinished(compressed) as kept, workers(jobs, cluster, address):
        sources = read_adapters(adapters)
        if max_drop is not None and base and validation:
            coded = compression.compress_within_drop(
                sources, max_drop, base, validation, mixable=mixable
            )
        else:
            coded = compression.compress(
                sources,
                budget or DEFAULT_BUDGET,
                calibration=calibration,
                base=base,
                settings=settings,
                bfloat16=bf16,
                mixable=mixable,
                unfinished=kept,
            )
        coded.save(compressed, overwrite=overwrite, heat_map=heat_map(coded))
    report.show(records.of_stored(coded), as_json)
