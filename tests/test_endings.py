"""What ends an answer and what of it is shown, however it comes in pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydraopt.errors import UsageError
from hydraopt.runtime.endings import stop_strings, until, without_empty_thoughts

TAGS = ("<t>", "</t>")


def pieces(alphabet):
    return st.lists(st.text(alphabet, max_size=4), max_size=8)


def read(generator):
    """What a generator yields, in one text, and what it returns."""
    text = ""
    while True:
        try:
            text += next(generator)
        except StopIteration as ended:
            return text, ended.value


def first_stop(text, stops):
    """Where the stop string begins that is complete first."""
    for end in range(len(text) + 1):
        found = [x for x in stops if text[:end].endswith(x)]
        if found:
            return end - max(map(len, found))
    return None


@given(pieces("ab#"), st.lists(st.text("ab#", min_size=1, max_size=4), max_size=3))
def test_a_text_ends_before_its_first_stop_string_whatever_the_pieces(given_pieces, stops):
    text = "".join(given_pieces)
    at = first_stop(text, stops)
    assert read(until(given_pieces, stops)) == (text[:at], at is not None)


def test_what_cannot_be_a_stop_string_is_shown_at_once():
    shown = until(iter(["ab", "#", "#", "c"]), ["###"])
    assert [next(shown), next(shown)] == ["ab", "##c"]
    one = until(iter(["ab#", "##c"]), ["###", "x"])
    assert next(one) == "ab"
    assert read(one) == ("", True)


def test_stop_strings_are_one_or_several_and_none_is_empty():
    assert stop_strings("##") == ("##",)
    assert stop_strings(["a", "b"]) == ("a", "b")
    with pytest.raises(UsageError, match="a stop string is empty"):
        stop_strings(["a", ""])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<t>\n\n</t>\n\nHi", "Hi"),
        (" <t></t>Hi <t></t>", "Hi <t></t>"),
        ("<t>\nHm\n</t>\n\nHi", None),
        ("<t>\n</t>", ""),
        ("<t>\n</t>\n ", ""),
        ("<t>\n</", None),
        ("<t>", None),
        ("<th", None),
        ("  Hi", None),
        ("\n", None),
        ("", None),
    ],
)
def test_empty_thoughts_are_not_shown_whatever_the_pieces(text, shown):
    expected = text if shown is None else shown
    for size in range(1, len(text) + 2):
        parts = [text[at : at + size] for at in range(0, len(text), size)]
        assert "".join(without_empty_thoughts(parts, TAGS)) == expected
        assert "".join(without_empty_thoughts(parts, None)) == text


def test_an_answer_without_thoughts_is_shown_at_once():
    shown = without_empty_thoughts(iter(["Hi", " you"]), TAGS)
    assert next(shown) == "Hi"
    assert list(shown) == [" you"]
