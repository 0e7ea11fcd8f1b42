"""``hydraopt merge`` and ``methods``: merging methods of the literature."""

from pathlib import Path
from typing import Annotated

import typer

from . import records, report
from .heat_map import heat_map
from .options import ClusterAddress, ClusterName, Jobs, Json, Output, Overwrite, Sources
from .parsing import settings
from .workers import workers


def merge(
    adapters: Sources,
    merged: Output,
    method: Annotated[str, typer.Option(help="Merging method; `hydraopt methods` lists all.")],
    pairs: Annotated[
        list[str] | None,
        typer.Option("--set", help="Option of the method, as NAME=VALUE; repeatable."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Base model, directory or hub id, for methods that need data."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="JSON lines of task, prompt and answer, for methods that need data."),
    ] = None,
    jobs: Jobs = None,
    cluster: ClusterName = None,
    address: ClusterAddress = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Merge the LoRA adapters of one base model with a method of the literature."""
    from ..adapters import read_adapters
    from ..errors import UsageError
    from ..files import check_output, unfinished
    from ..formats.stored import STORED
    from ..merging import find_method, merge_with
    from ..training import CalibrationData

    check_output(merged, STORED, overwrite=overwrite)
    values = settings("--set", pairs or [])
    needs = find_method(method).needs
    if needs == "nothing" and (base or data):
        raise UsageError(f"method {method} takes neither --base nor --data; leave them out")
    if needs != "nothing" and not (base and data):
        fields = "task, prompt and answer" if needs == "labels" else "task and prompt"
        raise UsageError(f"method {method} needs --base and --data, JSON lines of {fields}")
    with unfinished(merged), workers(jobs, cluster, address):
        sources = read_adapters(adapters)
        examples = None
        if base and data:
            examples = CalibrationData.read(base, data, sources.tasks, labels=needs == "labels")
        result = merge_with(method, sources, examples, **values)
        result.save(merged, overwrite=overwrite, heat_map=heat_map(result))
    report.show(records.of_stored(result), as_json)


def methods(as_json: Json = False) -> None:
    """List the merging methods: paper, required data, storage, options."""
    from ..merging import METHODS

    report.show_methods(METHODS, as_json)
