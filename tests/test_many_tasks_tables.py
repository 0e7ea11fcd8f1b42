"""The tables on many tasks have the numbers of the results they link to."""

from statistics import mean

from figures import ROOT, check_claim, check_table, results, tables

QUALITY = ROOT / "docs" / "quality.md"


def test_tasks_of_several_initialisations():
    (table,) = (x for x in tables(QUALITY) if "squared error at 5 %" in next(iter(x.values())))
    expected: dict[str, dict[str, float]] = {}
    for x in results("task_groups.json"):
        row = f"{x['initialisations']}, {x['tasks']}, {len(x['groups'])}"
        expected.setdefault(row, {}).update(
            {
                f"exact match at {x['budget']} %": x["exact"],
                f"squared error at {x['budget']} %": x["mean_squared_error"],
            }
        )
    check_table(table, expected)


def test_tasks_that_come_later():
    (table,) = (
        x for x in tables(QUALITY) if "exact match of the first 10" in next(iter(x.values()))
    )
    columns = {
        "exact match of the first 10": ("first", "exact"),
        "their error": ("first", "error"),
        "exact match of the other 30": ("later", "exact"),
        "the others' error": ("later", "error"),
    }
    records = results("later_tasks.json")
    expected = {
        f"--budget {budget}%, a {layout}": {
            column: mean(x[layout][tasks][field] for x in records if x["budget"] == budget)
            for column, (tasks, field) in columns.items()
        }
        for budget in (5, 10)
        for layout in ("layout of all", "layout of the first")
    }
    check_table(table, expected)
    shares = [
        100 * mean(x["layout of the first"]["share"] for x in records if x["budget"] == budget)
        for budget in (5, 10)
    ]
    pattern = r"all 40 take ([\d.]+) and ([\d.]+) % of their fp16 bytes"
    check_claim(QUALITY.read_text(encoding="utf-8"), pattern, shares)
