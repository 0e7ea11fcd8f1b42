"""Recipes of real families, at tiny size: what a program computes is what PyTorch computes."""

import json
import runpy
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from command_line import call, succeeds
from table import table as markdown
from table import with_new

from hydraopt.adapters import read_adapters
from hydraopt.cli import main
from hydraopt.cli.records import describe
from hydraopt.compression import compress
from hydraopt.formats.models import CausalLm
from hydraopt.lowering.check import expect, largest_deviation
from hydraopt.lowering.factors import slot_factors
from hydraopt.lowering.lowered import float_module
from hydraopt.lowering.plan import make_plan
from hydraopt.lowering.quantization import quantize, round_base
from hydraopt.recipes import FAMILIES, find_family
from hydraopt.recipes.latency import example
from hydraopt.recipes.tiny import TINY_BUDGET, tiny_family
from hydraopt.runtime import Session

ROOT = Path(__file__).parents[1]
MODULES = {
    path.stem
    for path in (ROOT / "hydraopt" / "recipes").glob("*.py")
    if "FAMILY = Family(" in path.read_text(encoding="utf-8")
}


def script(name: str) -> Callable[[], object]:
    """A file of export/, as a command line."""
    return partial(runpy.run_path, str(ROOT / "export" / name), run_name="__main__")


def test_every_recipe_is_in_the_table_and_the_page():
    assert {*FAMILIES} == MODULES == {x.stem for x in (ROOT / "export").glob("*.py")} - {"table"}
    page = (ROOT / "export" / "README.md").read_text(encoding="utf-8")
    rows = json.loads(
        (ROOT / "docs" / "results" / "export" / "families.json").read_text(encoding="utf-8")
    )
    assert [row["family"] for row in rows] == list(FAMILIES)
    assert markdown(rows) in page


@pytest.mark.parametrize("family", FAMILIES)
def test_a_familys_model_computes_what_transformers_computes(family):
    found = find_family(family)
    with tiny_family(found) as (base, sources):
        plan = make_plan(compress(read_adapters(sources), TINY_BUDGET), base)
    coded, kind = plan.adapters, plan.base.kind
    factors = {task: coded.task_factors(task) for task in ("first", "second")}
    rounded = round_base(plan.base.model, plan.settings)
    expected = expect(plan.base, plan.settings, factors)
    module = float_module(plan.base, plan.settings, coded.shapes)
    assert largest_deviation(kind, module, expected, lambda x: slot_factors(factors[x])) < 1e-5
    first, second = (next(x.outputs for x in expected if x.task == task) for task in factors)
    assert (first - second).norm() > 0.1 * first.norm()
    assert plan.classes == ({"first": 2, "second": 3} if found.head else {})
    assert not kind.generates or plan.base.about["chat"] is not None
    quantize(plan.base.model, plan.settings, rounded, plan.rows)


def assert_complete(record: Mapping[str, Any]) -> None:
    """What is told of a bundle of a tiny family."""
    assert record["deviation"] < 1e-5
    assert record["program_error"] < 0.05
    assert record["share_of_fp16"] <= 0.5


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_familys_program_computes_what_pytorch_computes(family, recipe):
    found, directory = find_family(family), recipe(family)
    record = json.loads((directory / "record.json").read_text(encoding="utf-8"))
    assert_complete(record | describe(directory / "bundle"))
    session = Session.open(directory / "bundle")
    assert session.tasks == ("first", "second")
    generates = isinstance(session.manifest.model, CausalLm)
    calibration = session.manifest.calibration
    assert (calibration and calibration.texts) == ("generated" if generates else None)
    for classes, task in enumerate(session.tasks, 2):
        session.switch(task)
        given = session.encode("Hi", chat=True) if generates else example(session.manifest)
        answer = session.forward(given) if generates else session.run(given)
        assert found.head is None or answer.shape[-1] == classes


@pytest.mark.slow
def test_a_recipe_is_one_command(tmp_path):
    command = ("recipe", "smollm2", "--tiny", "--json", "-o", tmp_path / "bundle")
    record = json.loads(succeeds(*command))
    assert record["quantize"] == "8da4w"
    assert_complete(record)
    assert (tmp_path / "bundle" / "manifest.json").exists()


@pytest.mark.parametrize("recipe", [(main, "recipe", "qwen3"), (script("qwen3.py"),)])
@pytest.mark.parametrize("arguments", [[], ["--tiny", "--adapters", "x"]])
def test_a_recipe_without_adapters_says_what_to_pass(recipe, arguments, tmp_path):
    done = call(*recipe, "-o", tmp_path / "bundle", *arguments)
    assert done.code == 2
    assert done.stderr.startswith("error: pass --adapters DIR")
    assert not (tmp_path / "bundle").exists()


def test_a_family_measured_alone_gets_its_row_and_leaves_the_others():
    before = [{"family": family, "run": 1} for family in ("llama3", "qwen2", "bert")]
    after = with_new(before, [{"family": family, "run": 2} for family in ("bert", "qwen3")])
    found = [(row["family"], row["run"]) for row in after]
    assert found == [("llama3", 1), ("qwen2", 1), ("qwen3", 2), ("bert", 2)]


def test_an_unknown_family_is_refused_before_any_work(tmp_path):
    done = call(script("table.py"), "mamba", "-o", tmp_path / "families.json")
    assert done.code == 2
    assert "no family 'mamba'" in done.stderr
    assert not (tmp_path / "families.json").exists()
