"""``hydraopt sparse``: merge sparse adapters, or approximate one by LoRA."""

from pathlib import Path
from typing import Annotated

import typer

from . import records, report
from .options import MOST, Json, Output, Overwrite, finite

sparse = typer.Typer(
    help="Merge sparse adapters, or approximate one by LoRA.", no_args_is_help=True
)


@sparse.command()
def merge(
    adapters: Annotated[list[Path], typer.Argument(help="Directories of sparse adapters.")],
    output: Output,
    alpha: Annotated[
        float, typer.Option(callback=finite, help="Weight of the merged delta.")
    ] = 1.0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Merge sparse adapters into one for all their tasks, to export into the weights."""
    from ..files import check_output
    from ..merging.sparse import merge_sparse
    from ..sparse import SPARSE, SparseAdapter

    check_output(output, SPARSE, overwrite=overwrite)
    merged = merge_sparse([SparseAdapter.load(path) for path in adapters], alpha=alpha)
    merged.save(output, overwrite=overwrite)
    report.show(records.describe(output), as_json)


@sparse.command()
def project(
    adapter: Annotated[Path, typer.Argument(help="Directory of a sparse adapter.")],
    output: Output,
    rank: Annotated[int, typer.Option(max=MOST, help="Rank of the LoRA.")] = 16,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write the nearest LoRA adapter as a PEFT directory."""
    from ..adapters import ADAPTER, write_adapter
    from ..files import output_directory
    from ..merging.sparse import project as nearest
    from ..sparse import SparseAdapter

    trained = SparseAdapter.load(adapter)
    with output_directory(output, ADAPTER, overwrite=overwrite) as staging:
        factors, error = nearest(trained, rank)
        write_adapter(staging, factors, trained.base_model)
    report.show(records.describe(output) | {"projection_error": round(error, 4)}, as_json)
