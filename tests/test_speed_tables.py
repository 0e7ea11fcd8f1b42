"""The tables of the docs on speed have the numbers of the results they link to."""

import re

import pytest
from figures import ROOT, Speed, check_claim, check_table, results, tables

SPEED = ROOT / "docs" / "speed.md"

PROGRAMS = {
    "export_llm, no adapters": "export_llm",
    "ours without slots": "bare",
    "ours, one adapter merged into the weights": "baked",
    "q, k, v, o in 5 %": "attention/5%",
    "q, k, v, o in 10 %": "attention/10%",
    "q, k, v, o with 16 bits": "attention/verbatim",
    "q, k, v, o as .pte + .ptd": "attention/ptd",
    "all linear layers in 5 %": "all/5%",
    "all linear layers in 10 %": "all/10%",
    "all linear layers with 16 bits": "all/verbatim",
    "all linear layers as .pte + .ptd": "all/ptd",
}
COSTS = {
    "reading all, writing one": "read and write",
    "compress --budget 10%": "compress",
}


@pytest.mark.parametrize(("place", "name"), [(0, "smollm2"), (1, "llama-1b")])
def test_speed_beside_export_llm(place, name):
    speed, table = Speed(name), tables(SPEED)[place]
    second = 1 if name == "smollm2" else 1e3  # the table tells the time of loading in this unit
    check_table(
        table,
        {
            row: {
                "decode at 10": speed.ratio(program, "10"),
                "at 400": speed.ratio(program, "400"),
                "prefill": speed.ratio(program, "prefill"),
                "load": [
                    speed.relative(program, "load_ms"),
                    speed.programs[program]["load_ms"] / second,
                ],
                "memory": [
                    speed.relative(program, "peak_bytes"),
                    speed.mb(program, "peak_bytes"),
                ],
                "program": speed.mb(program, "bytes"),
                "switch, p50 (p95)": speed.switch(program),
            }
            for row, program in PROGRAMS.items()
            if row in table
        },
    )


def test_the_sentences_on_speed():
    text = SPEED.read_text(encoding="utf-8")
    amd, older, newer = (Speed(f"smollm2{x}") for x in ("", "-older-server", "-newer-server"))
    attention = [f"attention/{kind}" for kind in ("5%", "verbatim", "ptd")]
    steps = [amd.ms("export_llm", "10"), amd.ms("export_llm", "prefill")]
    check_claim(text, r"takes ([\d.]+) ms at position 10 and prefill of 128 tokens (\d+) ms", steps)
    check_claim(
        text, r"\[([\d.]+) ms\]\(results/speed/smollm2-older", [older.ms("export_llm", "10")]
    )
    check_claim(
        text, r"\[([\d.]+) ms\]\(results/speed/smollm2-newer", [newer.ms("export_llm", "10")]
    )
    check_claim(
        text,
        r"in 5 % ([\d.]+) and ([\d.]+), with 16 bits ([\d.]+) and ([\d.]+), "
        r"as \.pte \+ \.ptd ([\d.]+) and ([\d.]+); ours without slots ([\d.]+) and ([\d.]+)",
        [x.ratio(program, "10") for program in (*attention, "bare") for x in (older, newer)],
    )
    another, ptd = Speed("llama-1b-attention"), Speed("llama-1b-ptd")
    check_claim(
        text,
        r"at (\d+) ms a step, q, k, v, o cost ([\d.]+) in 5 % and ([\d.]+) with 16 bits",
        [another.ms("export_llm", "10"), *(another.ratio(x, "10") for x in attention[:2])],
    )
    check_claim(
        text,
        r"q, k, v, o ([\d.]+) in 5 %, ([\d.]+) with 16 bits and ([\d.]+) as \.pte \+ \.ptd; "
        r"all linear layers ([\d.]+), ([\d.]+) and ([\d.]+)\.",
        [
            *(ptd.ratio(x, "10") for x in attention),
            *(ptd.ratio(f"all/{x}", "10") for x in ("5%", "verbatim", "ptd")),
        ],
    )
    slots = amd.ms("attention/5%", "10") - amd.ms("bare", "10")
    check_claim(text, r"add ([\d.]+) ms to a step", [slots])
    check_claim(text, r"SmolLM2, ([\d.]+) µs for each of (\d+) slots", [1e3 * slots / 120, 120])


def test_what_an_export_takes():
    export = results("speed/export.json")
    expected = [
        (export[program]["seconds"], export[program]["peak_bytes"] / 2**30)
        for program in ("bare", "export_llm")
    ]
    pattern = r"takes (\d+) s and ([\d.]+) GiB, `export_llm` (\d+) s and ([\d.]+) GiB"
    text = SPEED.read_text(encoding="utf-8")
    check_claim(text, pattern, [x for pair in expected for x in pair])


def test_memory_of_exporting_a_large_base():
    peaks = results("speed/memory-1b.json")["ours"]["extrapolated"]
    pattern = r"takes ([\d.]+) GiB of memory, or ([\d.]+) with pages"
    expected = [peaks["anonymous"] / 2**30, peaks["resident"] / 2**30]
    check_claim(SPEED.read_text(encoding="utf-8"), pattern, expected)


def test_what_a_slot_takes():
    measured = results("speed/slots.json")["us"]["SmolLM2-135M 576 x 576"]
    names = {"rows": "rows", "product and addition": "product", "packing": "packing"}
    (table,) = (table for table in tables(SPEED) if {*names} == {*next(iter(table.values()))})
    for (row, cells), state in zip(table.items(), ("warm", "cold"), strict=True):
        assert row.startswith(state)
        expected = {column: measured[state][name] for column, name in names.items()}
        check_table({row: cells}, {row: expected})


def test_what_compressing_and_merging_take():
    (table,) = (x for x in tables(SPEED) if "of the processor" in next(iter(x.values())))
    costs = results("merging/costs.json")["rows"]
    named = {row: costs[COSTS.get(row, row.replace("PEFT, ", "PEFT "))] for row in table}
    expected = {
        row: {
            "seconds": cost["seconds"],
            "of the processor": cost["cpu_seconds"],
            "memory": cost["growth_bytes"] / 1e6,
        }
        for row, cost in named.items()
    }
    check_table(table, expected)
    svd, ties = (
        costs[theirs]["seconds"] / costs[ours]["seconds"]
        for theirs, ours in (("PEFT svd", "average"), ("PEFT ties_svd", "ties"))
    )
    text = SPEED.read_text(encoding="utf-8")
    check_claim(text, r"in (\d+) times less time, without", [svd])
    check_claim(text, r"and takes ([\d.]+) times less", [ties])


def test_what_doubles_with_more():
    (table,) = (x for x in tables(SPEED) if "PEFT, svd" in next(iter(x.values())))
    growth = results("merging/growth.json")
    names = {"compress --budget 5%": "compress to 5 %", "PEFT, svd": "PEFT svd"}

    def grown(row: str, column: str) -> list[float]:
        of, before, after = re.fullmatch(r"(\w+), (\d+) to (\d+)", row).groups()
        name = names.get(column, column)
        if not all(name in growth[of][number] for number in (before, after)):
            return []
        few, many = (growth[of][number][name] for number in (before, after))
        return [many[field] / few[field] for field in ("cpu_seconds", "growth_bytes")]

    check_table(
        table,
        {row: {column: grown(row, column) for column in cells} for row, cells in table.items()},
    )


def test_bundles_of_many_tasks():
    (table,) = (x for x in tables(SPEED) if "verify, each task" in next(iter(x.values())))
    expected = {
        f"{record['tasks']:,}": {
            "manifest": record["manifest_bytes"] / 1e3,
            "open": record["open_ms"],
            "verify, each task": record["verify_ms_per_task"],
            "switch": record["switch_ms"],
            "add": record["add_ms"],
            "remove": record["remove_ms"],
        }
        for record in results("many_tasks.json")
        if record["packs"] == "separate"
    }
    check_table(table, expected)
