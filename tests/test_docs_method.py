"""docs/new-method.md: its example is a whole method; what the pages for newcomers name exists."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch
from conftest import delta, random_set

from hydraopt.merging import METHODS, find_method, merge_with
from hydraopt.stored import MergedAdapters

DOCS = Path(__file__).parent.parent / "docs"
NEW_METHOD = "new-method.md"


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def example(tmp_path):
    """The method's name, while its file is a module of ``hydraopt.merging``."""
    code, line = blocks(NEW_METHOD)
    module = re.fullmatch(r"from \. import (\w+)\n", line)[1]
    (tmp_path / f"{module}.py").write_text(code, encoding="utf-8")
    name = f"hydraopt.merging.{module}"
    spec = importlib.util.spec_from_file_location(name, tmp_path / f"{module}.py")
    before = {*METHODS}
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    (added,) = METHODS.keys() - before
    yield added
    del METHODS[added], sys.modules[name]


def test_the_example_is_a_method_like_all_others(example, tmp_path):
    adapters = random_set(4)
    assert find_method(example).describe() == {
        "paper": "docs/new-method.md",
        "per_task": False,
        "needs_data": False,
        "needs_labels": False,
        "storage": "m n",
        "options": {"scale": 1.0, "rank": None},
    }
    merged = merge_with(example, adapters, scale="0.5")
    assert (merged.method, merged.settings["scale"]) == (example, 0.5)
    assert merged.errors.keys() == {*adapters.tasks}
    for module in adapters.shapes:
        dense = torch.stack([delta(x.factors[module]) for x in adapters.adapters])
        norms = dense.flatten(1).norm(dim=1)
        wanted = 0.5 * norms.mean() * (dense / norms[:, None, None]).mean(0)
        assert (delta(merged.factors("task1", module)) - wanted).norm() < 1e-5 * wanted.norm()
    merged.save(tmp_path / "merged")
    assert MergedAdapters.load(tmp_path / "merged").method == example


def test_the_page_about_methods_has_all_of_them():
    page = (DOCS / "methods.md").read_text(encoding="utf-8")
    _, *rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    assert sorted(re.findall(r"`([\w-]+)`", " ".join(rows))) == sorted(METHODS)


def test_the_example_leaves_nothing_behind():
    assert "equal-norms" not in METHODS
    assert "hydraopt.merging.equal_norms" not in sys.modules


@pytest.mark.parametrize("page", sorted(x.name for x in DOCS.glob("new-*.md")))
def test_files_and_names_of_the_package_exist(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (DOCS / link).exists(), link
    for file in re.findall(r"tests/[\w/]+\.py", text):
        assert (DOCS.parent / file).exists(), file
    files = (x for place in ("hydraopt", "tests") for x in (DOCS.parent / place).rglob("*.py"))
    code = "".join(x.read_text(encoding="utf-8") for x in files)
    for name in {*re.findall(r"`([A-Z]\w+|[a-z]+_\w+)`", text)}:
        assert re.search(rf"\b{name}\b", code), name
