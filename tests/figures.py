"""Numbers in a page's tables and sentences beside those of the results they come from."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"
NUMBER = re.compile(r"(?<![\w.])-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?![\w]|\.\d)")
Table = dict[str, dict[str, str]]
Figures = Mapping[str, Sequence[float] | float]  # of a row, by column


def results(name: str):
    """The content of a JSON file below ``docs/results``."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def tables(page: Path) -> list[Table]:
    """A page's Markdown tables: a row's first cell -> column -> cell, without its marks."""
    blocks = re.findall(r"(?:^\|.*\n)+", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [_table(block.splitlines()) for block in blocks]


def _table(lines: Sequence[str]) -> Table:
    plain = (re.sub(r"[*`]", "", line) for line in lines)
    head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in plain)
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def check(text: str, expected: Sequence[float]) -> None:
    """Each number in ``text`` is the expected one, rounded to the digits that are shown.

    There may be more expected numbers than a cell shows, but not fewer.
    """
    shown = [number.replace(",", "") for number in NUMBER.findall(text)]
    assert 0 < len(shown) <= len(expected), (text, expected)
    for number, value in zip(shown, expected, strict=False):
        decimals = len(number.partition(".")[2])
        assert abs(float(number) - value) <= 0.5 * 10**-decimals + 1e-9, (text, value)


def check_table(table: Table, expected: Mapping[str, Figures]) -> None:
    """A table has the rows, columns and numbers that are expected; a dash stands for none."""
    assert table.keys() == expected.keys()
    for name, row in table.items():
        assert row.keys() == expected[name].keys()
        for column, cell in row.items():
            value = expected[name][column]
            values = value if isinstance(value, Sequence) else [value]
            if values or cell not in ("", "–"):
                check(cell, values)


def check_claim(text: str, pattern: str, expected: Sequence[float]) -> str:
    """``pattern`` occurs once and its groups are the expected numbers; return ``text`` without."""
    (found,) = re.finditer(pattern.replace(" ", r"\s+"), text)
    assert len(found.groups()) == len(expected)
    for group, value in zip(found.groups(), expected, strict=True):
        check(group, [value])
    return text[: found.start()] + text[found.end() :]


class Speed:
    """A run of ``against_export_llm.py``."""

    def __init__(self, name: str):
        record = results(f"speed/{name}.json")
        self.machine, self.baseline = record["machine"], record["baseline"]
        self.programs, self.switches = record["programs"], record["switches"]
        self.steps = {
            (step["program"], step["step"].split(" at ")[-1].split()[0]): step
            for step in record["steps"]
            if step["threads"] == 1
        }

    def ratio(self, program: str, step: str) -> float:
        """Of the time of a step to the baseline's; ``10`` and ``400`` are positions of decoding."""
        return self.steps[program, step]["ratio"]

    def ms(self, program: str, step: str) -> float:
        """Median time of a step."""
        return self.steps[program, step]["median_ms"]

    def mb(self, program: str, key: str) -> float:
        """``bytes`` or ``peak_bytes`` of a program, in MB."""
        return self.programs[program][key] / 1e6

    def relative(self, program: str, key: str) -> float:
        """A program's ``load_ms`` or ``peak_bytes`` by the baseline's."""
        return self.programs[program][key] / self.programs[self.baseline][key]

    def switch(self, program: str) -> list[float]:
        """p50 and p95 of a switch in ms; none if the program has one task."""
        found = self.switches.get(program)
        return [found["p50_ms"], found["p95_ms"]] if found else []
