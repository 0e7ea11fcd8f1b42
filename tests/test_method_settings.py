"""Settings of merging methods, and how methods are listed."""

import pkgutil
from importlib import import_module
from inspect import ismodule

import pytest
from conftest import random_set

from hydraopt import merging
from hydraopt.errors import MergeError, UsageError
from hydraopt.merging import METHODS, merge_with, merging_method

TASKS = 6


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("ties", {"density": 0.0}, "density is 0.0, expected above 0 and at most 1"),
        ("knots", {"density": 1.5}, "density is 1.5"),
        ("dare", {"density": float("nan")}, "density is nan"),
        ("dare-ties", {"seed": -1}, "seed is -1, expected at least 0"),
        ("doge", {"density": -1}, "density is -1"),
        ("doge", {"steps": -1}, "steps is -1"),
        ("doge", {"steps": 10**8}, "steps is 100000000, expected 0 to 1,000,000"),
        ("1bit", {"density": 2}, "density is 2"),
        ("1bit", {"modules": "mlp"}, "matches no module; available modules: layer0, layer1"),
        ("1bit", {"modules": "("}, "not a regular expression"),
        ("tsv-merge", {"keep": 0}, "keep is 0"),
        ("kmerge", {"clusters": 7}, "clusters is 7, expected 1 to 6, the number of adapters"),
        ("kmerge", {"clusters": 0}, "clusters is 0, expected 1 to 6"),
        ("kmerge", {"threshold": 2.0}, "threshold is 2.0, a cosine, expected -1 to 1"),
        ("hydraopt", {"seed": -1}, "seed is -1"),
    ],
)
def test_refuses_settings_it_cannot_take(method, settings, message):
    with pytest.raises(MergeError, match=message.replace("(", r"\(")):
        merge_with(method, random_set(TASKS), **settings)


@pytest.mark.parametrize(
    ("method", "name", "text", "value"),
    [
        ("ties", "density", "0.5", 0.5),
        ("ties", "rank", "3", 3),
        ("kmerge", "threshold", "none", None),
        ("kmerge", "threshold", "1", 1.0),
        ("hydraopt", "soft", "true", True),
        ("1bit", "modules", "0", "0"),
    ],
)
def test_options_may_be_text(method, name, text, value):
    assert METHODS[method].option(name, text) == value
    merged = merge_with(method, random_set(TASKS), **{name: text})
    assert merged.settings[name] == value


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("ties", {"density": "much"}, "option density of method ties is 'much', expected a number"),
        ("ties", {"density": "nan"}, "expected a number"),
        ("ties", {"rank": "2.5"}, "is '2.5', expected an integer or none"),
        ("hydraopt", {"soft": "yes"}, "expected true or false"),
        ("ties", {"densty": "1"}, "no option densty; its options: density, scale, rank"),
        ("mean", {}, "no merging method 'mean'; expected one of hydraopt, average, private"),
    ],
)
def test_refuses_options_that_do_not_parse(method, settings, message):
    with pytest.raises(UsageError, match=message):
        merge_with(method, random_set(2), **settings)


def test_methods_are_described_for_machines():
    record = METHODS["jd-full"].describe()
    assert record["options"] == {"rank": None}
    assert record["per_task"] and not record["needs_data"] and not record["needs_labels"]
    assert "2407.00066" in record["paper"]
    assert record["storage"] == "R (m + n) + T R^2"


def test_methods_are_listed_under_their_names_those_that_need_least_first():
    assert list(METHODS) == [method.name for method in METHODS.values()]
    assert [*METHODS][:5] == ["hydraopt", "average", "private", "task-arithmetic", "ties"]
    needs = [method.needs for method in METHODS.values()]
    assert needs == sorted(needs, key=["nothing", "data", "labels"].index)


@pytest.mark.parametrize(
    "method", [name for name, method in METHODS.items() if method.needs == "nothing"]
)
def test_a_result_has_its_methods_name(method):
    assert METHODS[method].function(random_set(2)).method == method


def test_no_function_shadows_a_module():
    for module in pkgutil.iter_modules(merging.__path__):
        import_module(f"{merging.__name__}.{module.name}")
        assert ismodule(getattr(merging, module.name)), module.name


def test_a_method_keeps_its_name():
    register = merging_method(name="ties", paper="", storage="")
    with pytest.raises(ValueError, match=r"'ties' already exists in hydraopt\.merging\.ties"):
        register(lambda adapters: None)
