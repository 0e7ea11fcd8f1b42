"""Write the report: results, Markdown tables, plots and a self-contained HTML page."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..files import output_directory, write_json
from ..shown import html
from .charts import plot_all
from .results import RESULTS
from .tables import Table, all_tables, headline, markdown

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #1c1c1c; background: #fff }
h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: .9rem }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: right }
th:first-child, td:first-child { text-align: left } th { border-bottom: 2px solid #999 }
.note, figcaption { color: #555; font-size: .85rem } figure { margin: 1rem 0 }
img { max-width: 100% } .warning { background: #fff3cd; padding: .5rem .8rem; margin: .4rem 0 }
"""


REPORT = "profile"


def write_report(results: Mapping, directory: Path, *, overwrite: bool = False) -> None:
    """Write ``results.json``, ``report.md``, plots and ``report.html``, atomically.

    Raises:
        OutputError: ``directory`` exists without ``overwrite``, or cannot be written.
    """
    with output_directory(directory, REPORT, overwrite=overwrite) as staging:
        write_json(staging / RESULTS, results)
        (staging / "report.md").write_text(markdown(results), encoding="utf-8")
        captions = plot_all(results, staging)
        images = {name: (staging / name).read_bytes() for name in captions}
        page = "\n".join(_page(results, captions, images))
        (staging / "report.html").write_text(page, encoding="utf-8")


def _page(
    results: Mapping, captions: Mapping[str, str], images: Mapping[str, bytes]
) -> Iterator[str]:
    title = html(f"Profile of {results['bundle']['name']}")
    yield f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield '<meta name="viewport" content="width=device-width">'
    yield f"<style>{STYLE}</style></head><body>\n<h1>{title}</h1>"
    yield f"<p>{html(' '.join(headline(results)))}</p>"
    yield from (f'<p class="warning">{html(note)}</p>' for note in results["notes"])
    tables = all_tables(results)
    yield from (line for table in tables[:3] for line in _table(table))
    for name, caption in captions.items():
        data = base64.b64encode(images[name]).decode()
        yield (
            f'<figure><img alt="{html(caption)}" src="data:image/png;base64,{data}">'
            f"<figcaption>{html(caption)}</figcaption></figure>"
        )
    yield from (line for table in tables[3:] for line in _table(table))
    yield (
        f'<p class="note">hydraopt {html(results["hydraopt"])}, ExecuTorch '
        f"{html(results['executorch'])}, {html(results['finished'])}</p></body></html>"
    )


def _table(table: Table) -> Iterator[str]:
    yield f'<h2>{html(table.title)}</h2>\n<div class="scroll"><table>'
    yield _row("th", table.head)
    yield from (_row("td", row) for row in table.rows)
    yield "</table></div>"
    if table.note:
        yield f'<p class="note">{html(table.note)}</p>'


def _row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{html(cell)}</{tag}>' for cell in cells)}</tr>"
