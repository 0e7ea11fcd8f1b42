"""The tables of the docs on quality have the numbers of the results they link to."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from figures import RESULTS, ROOT, check_claim, check_table, results, tables

QUALITY = ROOT / "docs" / "quality.md"

LEARNT = {
    "unmerged": ("unmerged", "unmerged"),
    "--budget 1%": ("budget", "1 %"),
    "--budget 1% --calibration": ("budget, calibrated", "1 %"),
    "--budget 2%": ("budget", "2 %"),
    "--budget 2% --calibration": ("budget, calibrated", "2 %"),
    "average": ("average", "average"),
    "TIES": ("ties", "ties"),
    "KnOTS": ("knots", "knots"),
    "SuperMerge": ("supermerge", "supermerge"),
}
ROUNDED = {
    "float32, adapters as trained": "float",
    "float32, adapters in 5 %": "float_packs",
    "--calibration none": "least squared error",
    "by default: texts that the base writes": "generated",
    "--calibration prompts.jsonl": "prompts",
    "the same, --override lm_head=8da8w": "prompts, 8-bit head",
}
FOR_ROUNDED = {
    "float32, adapters as trained": "float",
    "float32, adapters in 5 %": "float_packs",
    "export --calibration prompts.jsonl": "prompts",
    "compress --calibration prompts.jsonl --quantize 8da4w": "packs for the rounded base",
    "export --calibration prompts.jsonl --override lm_head=8da8w": "prompts, 8-bit head",
    "export --calibration prompts.jsonl --quantize 8da8w": "all 8 bits",
}
ZOO = {
    "unmerged": ("unmerged", "unmerged"),
    **{f"--budget {n}%": ("budget", f"{n} %") for n in (3, 5, 7, 10, 15, 30, 60)},
    **{f"--budget {n}% --calibration": ("budget, calibrated", f"{n} %") for n in (3, 5, 7, 10)},
    **{f"plain int{bits}, groups of 32": ("plain", f"int{bits}") for bits in (2, 4, 8)},
    **{f"--method hydraopt, K = {k}": ("hydraopt", f"K = {k}") for k in (8, 16, 40)},
    "--method average": ("average", "average"),
}
EQUAL_BYTES = {  # row -> family, and what its settings hold
    "hydraopt compress": ("hydraopt compress", ""),
    "HydraOpt, integers": ("HydraOpt, K = tasks", "int"),
    "HydraOpt, our codes": ("HydraOpt, K = tasks", "our codes"),
    "JD-Full, integers": ("JD-Full", "int"),
    "JD-Full, our codes": ("JD-Full", "our codes"),
    "each adapter's SVD, integers": ("each adapter's SVD", "int"),
    "each adapter's SVD, our codes": ("each adapter's SVD", "our codes"),
    "LoRAQuant": ("LoRAQuant", ""),
}
MERGES = {
    "the adapters themselves": "unmerged",
    "base model alone": "base",
    "hydraopt, K = tasks": "hydraopt",
}


def percent(shares: Sequence[float]) -> list[float]:
    return [100 * share for share in shares]


def points(name: str) -> dict[tuple[str, str], dict]:
    return {(point["series"], point["label"]): point for point in results(name)}


def test_all_methods_on_a_language_model():
    written = (RESULTS / "llm" / "frontier.md").read_text(encoding="utf-8")
    assert written in QUALITY.read_text(encoding="utf-8")
    lines = [line.split("|") for line in written.splitlines()[2:]]
    found = results("llm/results.json")
    assert len(lines) == len(found)
    for line, point in zip(lines, found, strict=True):
        share, exact, lost, _, tokens, nats, chrf, score = line[3:-1]
        expected = {
            "share": (share, 100 * point["share"]),
            "exact": (exact, 100 * point["mean"]),
            "lost": (lost.strip(), [] if point is found[0] else percent(point["lost_interval"])),
            "tokens": (tokens, 100 * point["mean_tokens"]),
            "nats": (nats, point["mean_nats"]),
            "chrf": (chrf, 100 * point["mean_chrf"]),
            "score": (score, 100 * point["s_score"]),
        }
        check_table(
            {line[1]: {name: cell for name, (cell, _) in expected.items()}},
            {line[1]: {name: value for name, (_, value) in expected.items()}},
        )


def test_methods_that_learn_on_a_language_model():
    found = points("llm-learnt/results.json")
    check_table(
        tables(QUALITY)[1],
        {
            row: {
                "share of fp16": 100 * point["share"],
                "tokens right %": 100 * point["mean_tokens"],
                "nats per token": point["mean_nats"],
                "chrF": 100 * point["mean_chrf"],
                "S-score %": 100 * point["s_score"],
            }
            for row, point in ((row, found[key]) for row, key in LEARNT.items())
        },
    )


def test_the_sentences_on_what_the_program_says():
    program = results("llm/program.json")
    text = QUALITY.read_text(encoding="utf-8")
    exact, quantized = program["none"], program["8da4w"]
    check_claim(text, r"(\d+) of (\d+) texts are PEFT's", [exact["equal"], exact["of"]])
    check_claim(text, r"chrF is ([\d.]+) for both", [100 * exact["peft_chrf"]])
    chrf = 100 * quantized["program_chrf"]
    check_claim(text, r"(\d+) texts are the same and chrF is ([\d.]+):", [quantized["equal"], chrf])


def check_rounded(record: dict, table: dict, names: Mapping[str, str]) -> None:
    found = record["ways"] | {name: record[name] for name in ("float", "float_packs")}
    mega = {name: x["bytes"]["program"] / 1e6 for name, x in record["ways"].items()}
    assert len(names) == len(found)
    check_table(
        table,
        {
            row: {
                "model.pte, MB": mega.get(name, []),
                "S %": found[name]["mean"]["s_tokens"],
                "worst task's S %": found[name]["worst"]["s_tokens"],
                "nats per token": found[name]["mean"]["nats"],
                "exact match %": 100 * found[name]["mean"]["exact"],
                "chrF": 100 * found[name]["mean"]["chrf"],
            }
            for row, name in names.items()
        },
    )


def test_what_packs_for_the_rounded_base_gain():
    record = results("llm/rounded_packs.json")
    check_rounded(record, tables(QUALITY)[3], FOR_ROUNDED)
    text = QUALITY.read_text(encoding="utf-8")
    check_claim(text, r"(\d+) unseen examples of each, through", [record["examples"]])


def test_what_rounding_the_base_costs():
    record = results("llm/rounding.json")
    check_rounded(record, tables(QUALITY)[2], ROUNDED)
    assert len(record["tasks"]) == 4
    text = QUALITY.read_text(encoding="utf-8")
    check_claim(text, r"on (\d+) unseen examples of each", [record["examples"]])
    ((task, other),) = record["export_llm"].items()
    pattern = r"keeps ([\d.]+) % of the right tokens there .* rounded for prompts ([\d.]+) %"
    ours = record["ways"]["prompts"]["tasks"][task]
    check_claim(text, pattern, [other["mean"]["s_tokens"], ours["s_tokens"]])


def test_storage_against_quality_on_the_zoo():
    found = points("frontier/results.json")
    check_table(
        tables(QUALITY)[5],
        {
            row: {
                "share of fp16": 100 * point["share"],
                "mean exact match %": 100 * point["mean"],
                "lost, 95 % interval": percent(point["lost_interval"]) if row != "unmerged" else [],
                "worst task %": 100 * point["worst"],
            }
            for row, point in ((row, found[key]) for row, key in ZOO.items())
        },
    )


def test_other_sets_of_adapters():
    columns = {
        "3.5": ("lost at 3.5 %", "by the worst task"),
        "5": ("at 5 %", "by its worst"),
        "10": ("at 10 %", "by the worst"),
    }
    expected = {}
    for row, found in results("sets.json")["sets"].items():
        expected[row] = {"exact match unmerged %": found["exact"]}
        for budget, (lost, worst) in columns.items():
            point = found["budgets"][budget]
            expected[row][lost] = [point["lost"], *point["lost_interval"]]
            expected[row][worst] = point["worst_lost"]
    check_table(tables(QUALITY)[6], expected)


def test_codes_at_equal_bytes():
    sets = results("equal_bytes.json")["sets"]
    expected: dict[str, dict] = {row: {} for row in EQUAL_BYTES}
    for name, found in sets.items():
        for share, points in found["shares"].items():
            for row, (family, holds) in EQUAL_BYTES.items():
                fitting = [x for x in points if x["family"] == family and holds in x["setting"]]
                best = min(fitting, key=lambda x: x["nats"], default=None)
                values = [best["lost"], *best["lost_interval"]] if best else []
                expected[row][f"{name}, {share} %"] = values
    check_table(tables(QUALITY)[7], expected)


def test_other_rates_of_the_trellis():
    record = results("rates.json")
    arms = {"today": "today", "more rates": "3, 5, 6, 12, 16"}
    expected = {
        name: {
            f"{budget} %, {column}": found["rates"][budget][arm]["nats"]
            for budget in ("3.5", "5", "10")
            for column, arm in arms.items()
        }
        for name, found in record["sets"].items()
    }
    check_table(tables(QUALITY)[8], expected)
    text = QUALITY.read_text(encoding="utf-8")
    saved = [
        100 * (1 - x["all, each by its best"]["left"])
        for found in record["sets"].values()
        for x in found["entropy"].values()
    ]
    check_claim(text, r"makes ([\d.]+) to ([\d.]+) % of all stored bytes", [min(saved), max(saved)])
    bounds = [x["bound"] for x in record["bounds"].values()]
    check_claim(text, r"less than ([\d.]+), ([\d.]+) and ([\d.]+) bits", bounds)


def test_what_sharing_all_rows_costs():
    found = results("mixable.json")
    check_table(
        tables(QUALITY)[9],
        {
            f"--budget {x['budget']}%" + " --mixable" * x["mixable"]: {
                "mean exact match %": 100 * x["mean_exact"],
                "worst task %": 100 * x["worst_exact"],
                "largest rank": x["largest_rank"],
                "modules with private rows": x["modules_with_private_rows"],
            }
            for x in found
        },
    )
    zoo = points("frontier/results.json")
    for x in found:
        if not x["mixable"]:
            point = zoo["budget", f"{x['budget']} %"]
            assert x["mean_exact"] == pytest.approx(point["mean"], abs=0.005)


def test_mixtures_beside_peft():
    found = results("llm/mixtures.json")
    whose = {"PEFT": "peft", "packs, float": "packs", "program": "program"}
    expected = {
        ", ".join(f"{weight:g}" for weight in x["weights"].values()): {
            f"{task}, {name}": 100 * x[key][task]["tokens"]
            for task in found["tasks"]
            for name, key in whose.items()
        }
        for x in found["mixtures"]
    }
    check_table(tables(QUALITY)[10], expected)


def test_methods_by_number_of_tasks():
    found = {(point["method"], point["tasks"]): point for point in results("frontier/merges.json")}
    counts = {"2 tasks": 2, "4": 4, "8": 8, "16": 16, "32": 32}
    table = tables(QUALITY)[11]
    shown = {}
    for row in table:
        method = MERGES.get(row, row)
        shown[row] = {
            heading: 100 * found[method, count]["held_in"]["exact"]
            for heading, count in counts.items()
        }
        unseen = found[method, 4]["held_out"]
        shown[row]["8 unseen tasks, 4 merged"] = [100 * unseen["exact"]] if unseen else []
    check_table(table, shown)


def test_a_number_that_differs_is_found(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("| | ms |\n|---|---|\n| **a** | 1.2 (3) |\n| b | – |\n")
    (table,) = tables(page)
    check_table(table, {"a": {"ms": [1.24, 3.4]}, "b": {"ms": []}})
    for wrong in ([1.26, 3.4], [1.24, 3.6], [1.24], []):
        with pytest.raises(AssertionError):
            check_table(table, {"a": {"ms": wrong}, "b": {"ms": []}})
