"""Recipes of real families, at tiny size: what a program computes is what PyTorch computes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from table import table as markdown
from table import with_new

from hydraopt.cli.records import describe
from hydraopt.formats.models import CausalLm
from hydraopt.lowering.settings import ExportSettings
from hydraopt.recipes import FAMILIES, find_family
from hydraopt.recipes.export import export
from hydraopt.recipes.latency import example
from hydraopt.recipes.tiny import TINY_BUDGET, tiny_family
from hydraopt.runtime import Session

ROOT = Path(__file__).parents[1]
RECIPES = {
    path.stem
    for path in (ROOT / "hydraopt" / "recipes").glob("*.py")
    if "FAMILY = Family(" in path.read_text(encoding="utf-8")
}


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )


def test_every_recipe_is_in_the_table_and_the_page():
    assert {*FAMILIES} == RECIPES == {x.stem for x in (ROOT / "export").glob("*.py")} - {"table"}
    page = (ROOT / "export" / "README.md").read_text(encoding="utf-8")
    rows = json.loads(
        (ROOT / "docs" / "results" / "export" / "families.json").read_text(encoding="utf-8")
    )
    assert [row["family"] for row in rows] == list(FAMILIES)
    assert markdown(rows) in page


@pytest.mark.slow
@pytest.mark.parametrize("quantize", ["none", "8da4w"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_familys_program_computes_what_pytorch_computes(family, quantize, tmp_path):
    found = find_family(family)
    with tiny_family(found) as (base, sources):
        record = export(sources, base, tmp_path / "bundle", TINY_BUDGET, ExportSettings(quantize))
    assert record["deviation"] < 1e-5
    assert record["program_error"] < (1e-4 if quantize == "none" else 0.05)
    assert describe(tmp_path / "bundle")["share_of_fp16"] <= 0.5
    session = Session.open(tmp_path / "bundle")
    assert session.tasks == ("first", "second")
    generates = isinstance(session.manifest.model, CausalLm)
    assert not generates or session.manifest.model.chat is not None
    answers = []
    for classes, task in enumerate(session.tasks, 2):
        session.switch(task)
        given = session.encode("Hi", chat=True) if generates else example(session.manifest)
        answers.append(session.forward(given) if generates else session.run(given))
        assert found.head is None or answers[-1].shape[-1] == classes
    assert found.head or (answers[0] - answers[1]).norm() > 0.1 * answers[0].norm()


@pytest.mark.slow
def test_a_recipe_is_one_command(tmp_path):
    recipe = ("-m", "hydraopt", "recipe", "smollm2")
    done = run(*recipe, "--tiny", "--json", "-o", str(tmp_path / "bundle"))
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["quantize"] == "8da4w"
    assert (tmp_path / "bundle" / "manifest.json").exists()


@pytest.mark.parametrize("recipe", [["-m", "hydraopt", "recipe", "qwen3"], ["export/qwen3.py"]])
@pytest.mark.parametrize("arguments", [[], ["--tiny", "--adapters", "x"]])
def test_a_recipe_without_adapters_says_what_to_pass(recipe, arguments, tmp_path):
    done = run(*recipe, "-o", str(tmp_path / "bundle"), *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: pass --adapters DIR")
    assert not (tmp_path / "bundle").exists()


def test_a_family_measured_alone_gets_its_row_and_leaves_the_others():
    before = [{"family": family, "run": 1} for family in ("llama3", "qwen2", "bert")]
    after = with_new(before, [{"family": family, "run": 2} for family in ("bert", "qwen3")])
    found = [(row["family"], row["run"]) for row in after]
    assert found == [("llama3", 1), ("qwen2", 1), ("qwen3", 2), ("bert", 2)]


def test_an_unknown_family_is_refused_before_any_work(tmp_path):
    done = run("export/table.py", "mamba", "-o", str(tmp_path / "families.json"))
    assert done.returncode == 2
    assert "no family 'mamba'" in done.stderr
    assert not (tmp_path / "families.json").exists()
