"""Lists of numbers and names with values on the command line."""

import pytest

from hydraopt.cli.parsing import integers, percentages, settings
from hydraopt.errors import UsageError


def test_numbers_stand_between_commas():
    assert integers("--ids", "3") == [3]
    assert integers("--ids", "1, 20,-3") == [1, 20, -3]
    assert percentages("--budgets", "2.5,100") == [2.5, 100.0]


@pytest.mark.parametrize("text", ["", "x", "1,x", "1,,2", "1.5", "1;2"])
def test_what_is_no_list_of_integers_is_refused(text):
    with pytest.raises(UsageError, match=f"--ids {text!r}: expected integers such as 1,2,4"):
        integers("--ids", text)


@pytest.mark.parametrize("text", ["", "x", "0", "5,101", "nan"])
def test_what_is_no_list_of_percentages_is_refused(text):
    with pytest.raises(UsageError, match=f"--budgets '{text}': expected percentages such as"):
        percentages("--budgets", text)


def test_settings_are_names_with_values():
    assert settings("--set", ["rank=4", "note=a=b"]) == {"rank": "4", "note": "a=b"}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["density"], "--set 'density': expected NAME=VALUE"),
        (["=1"], "--set '=1': expected NAME=VALUE"),
        (["scale=1", "scale=2"], "--set gives 'scale' twice"),
    ],
)
def test_settings_of_another_form_are_refused(texts, message):
    with pytest.raises(UsageError, match=message):
        settings("--set", texts)
