"""Export families at tiny size, in float32 and quantised, and print the table of the README.

`python export/table.py` exports all families, `python export/table.py qwen3` one.
"""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm
from transformers.utils import logging

from hydraopt.lowering.settings import ExportSettings
from hydraopt.recipes import FAMILIES, find_family
from hydraopt.recipes.export import export
from hydraopt.recipes.tiny import TINY_BUDGET, tiny_family

# operators on shapes and positions, and views
VIEWS = ("assert", "scalar", "copy", "sym_size", "auto_functionalized", "ge", "le", "add", "cat")


def measure(family: str) -> dict[str, object]:
    """Measure one family."""
    found = find_family(family)
    row: dict[str, object] = {"family": family, "base": found.base}
    with tiny_family(found) as (base, sources), tempfile.TemporaryDirectory() as directory:
        for quantize in ("none", "8da4w"):
            output = Path(directory) / quantize
            record = export(sources, base, output, TINY_BUDGET, ExportSettings(quantize))
            outside = record["outside_xnnpack"]
            row |= {
                "deviation": record["deviation"],
                f"outside_{quantize}": sorted(x for x in outside if not _is_view(x)),
                f"program_error_{quantize}": record["program_error"],
                f"forward_ms_{quantize}": record["forward_ms"],
            }
    return row


def _is_view(operator: str) -> bool:
    return any(part in operator.split("_") or operator.startswith(part) for part in VIEWS)


def table(rows: list[dict]) -> str:
    """Return the records as a Markdown table."""
    lines = [
        "| recipe | for example | computed outside XNNPACK (8da4w) | deviation | program error, "
        "float32 | 8da4w | a call, 8da4w |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        outside = ", ".join(f"`{x}`" for x in row["outside_8da4w"])
        lines.append(
            f"| `{row['family']}.py` | {row['base']} | {outside} | {row['deviation']:.0e} "
            f"| {row['program_error_none']:.0e} | {row['program_error_8da4w']:.1%} "
            f"| {row['forward_ms_8da4w']:.2f} ms |"
        )
    return "\n".join(lines)


def with_new(rows: list[dict], new: list[dict]) -> list[dict]:
    """Replace and add records, in the order of ``FAMILIES``."""
    found = {row["family"]: row for row in (*rows, *new)}
    return [found[family] for family in FAMILIES if family in found]


def main(
    families: Annotated[
        list[str] | None, typer.Argument(help="Families to export; all by default.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="JSON file to update with the exported families."),
    ] = None,
) -> None:
    """Export families and print the table."""
    if unknown := sorted({*(families or ())} - {*FAMILIES}):
        raise typer.BadParameter(f"no family {unknown[0]!r}, expected some of {FAMILIES}")
    logging.disable_progress_bar()
    chosen = tqdm(families or FAMILIES, desc="export", disable=None)
    before = json.loads(output.read_text(encoding="utf-8")) if output and output.exists() else []
    rows = with_new(before, [measure(family) for family in chosen])
    print(table(rows))
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
