"""The figures on the page about bundles in apps are those of the results that it links to."""

from figures import ROOT, check_claim, results

PAGE = ROOT / "docs" / "use-in-an-app.md"


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
