"""Figures and examples of the pages about apps are those of results, and of tests that run them."""

import re
from textwrap import dedent

from figures import ROOT, check_claim, check_table, results, tables

PAGE, ALTERNATIVES = ROOT / "docs" / "use-in-an-app.md", ROOT / "docs" / "alternatives.md"
ANDROID = ROOT / "android_demo" / "README.md"
EXAMPLES = ROOT / "android_demo/host/hydraopt/src/test/kotlin/io/hydraopt/ExamplesTest.kt"


def test_a_long_conversation():
    found, text = results("chat.json"), PAGE.read_text(encoding="utf-8")
    turns = [turn for conversation in found["turns"].values() for turn in conversation]
    assert len(turns) == 2 * 20
    assert all(turn["prompt_equal"] and turn["equal"] == turn["answer"] for turn in turns)
    assert {turn["margin_at_difference"] for turn in turns} == {None}
    last = found["times"][-1]
    assert last["turn"] == 20
    count = sum(turn["answer"] for turn in turns)
    check_claim(text, r"all ([\d,]+) tokens are the same in a conversation", [count])
    check_claim(
        text,
        r"Of the ([\d,]+) tokens of the last prompt (\d+) are computed, in (\d+) % of the time",
        [last["prompt"], last["computed"], 100 * last["ratio"]],
    )


def test_what_a_session_holds_and_what_opening_it_again_takes():
    found = results("reopening.json")
    (table,) = (x for x in tables(ANDROID) if "load the program" in x)
    values = (
        found["own_bytes"] / 1e6,
        found["file_bytes"] / 1e6,
        found["own_bytes_of_a_second"] / 1e6,
        found["check_ms"],
        found["remember_ms"],
        found["load_ms"],
        [found["switch_ms"], found["first_token_ms"]],
    )
    check_table(table, {row: {"": value} for row, value in zip(table, values, strict=True)})
    text = ANDROID.read_text(encoding="utf-8")
    check_claim(text, r"a program of (\d+) MB, on a JVM", [found["program_bytes"] / 1e6])


def test_what_a_second_thread_gives():
    def gain(name: str) -> float:
        """Time of a decoding step on one thread by that on two."""
        one, two = (
            next(
                step["median_ms"]
                for step in results(f"speed/{name}.json")["steps"]
                if (step["program"], step["threads"]) == ("attention/5%", threads)
                and step["step"] == "decode at 10"
            )
            for threads in (1, 2)
        )
        return one / two

    text = ANDROID.read_text(encoding="utf-8")
    check_claim(
        text, r"1B's shape ([\d.]+) times as fast, and with SmolLM2-135M slower", [gain("llama-1b")]
    )
    assert gain("smollm2") < 1


def examples() -> dict[str, list[str]]:
    """Of the Kotlin tests that are examples, by name: the lines that an app needs."""
    text = EXAMPLES.read_text(encoding="utf-8")
    found = re.findall(r"@Test\n    fun (\w+)\(\).*?// example\n(.*?)\n *// end", text, re.DOTALL)
    return {name: dedent(lines).splitlines() for name, lines in found}


def test_the_lines_that_an_app_needs():
    (table,) = (x for x in tables(ALTERNATIVES) if "lines in Kotlin" in next(iter(x.values())))
    counts = [int(row["lines in Kotlin"]) for row in table.values()]
    assert counts == [len(lines) for lines in examples().values()]


def test_the_readme_shows_the_example_that_runs():
    example = "\n".join(examples()["generate"])
    assert f"```kotlin\n{example}\n```" in (ROOT / "README.md").read_text(encoding="utf-8")
