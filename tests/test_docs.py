"""README and docs: their links, commands and examples are real."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer.main

from hydraopt.cli.app import app
from hydraopt.documents import SCHEMAS
from hydraopt.formats.layout import Layout

ROOT = Path(__file__).parent.parent
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/*.md"),
    *ROOT.glob("export/*.md"),
    *ROOT.glob("android_demo/*.md"),
]
LINK = re.compile(r"\[[^\]]*\]\(([^)#]*)(?:#([^)]*))?\)")
MOST_WORDS = 900  # of the README: two minutes, read aloud


def blocks(page: Path, language: str = r"\w*") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands() -> list[tuple[str, str]]:
    lines = (
        (page, line.removeprefix("$ "))
        for page in PAGES
        for block in blocks(page)
        for line in block.splitlines()
    )
    return [(page.name, line) for page, line in lines if line.startswith("hydraopt ")]


def test_the_readme_is_read_in_two_minutes():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= MOST_WORDS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", x.lower()).replace(" ", "-") for x in headings}
            assert anchor in anchors


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_and_their_options_exist(page, line):
    command = typer.main.get_command(app)
    words = shlex.split(line, comments=True)[1:]
    while words and hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known | {"--help"}


def test_the_formats_page_shows_a_layout_that_is_read(tmp_path):
    (example,) = blocks(ROOT / "docs" / "formats.md", "json")
    (tmp_path / "layout.json").write_text(example)
    (module,) = Layout.read(tmp_path / "layout.json").modules.values()
    assert len(module.directions) == 10


def test_the_formats_page_names_every_schema_and_its_version():
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    for path in SCHEMAS.glob("*.json"):
        schema = json.loads(path.read_text(encoding="utf-8"))
        version = schema["properties"].get("format_version")
        assert version is None or str(version["const"]) in schema["title"]
        assert path.name in page, path.name
    headings = re.findall(r"^## (\w+)\.json, version (\d+)", page, re.MULTILINE)
    for name, version in headings:
        schema = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
        assert schema["properties"]["format_version"]["const"] == int(version)
    assert len(headings) == 6


def test_results_that_pages_name_are_tracked():
    for page in PAGES:
        for name in re.findall(r"docs/results/[\w./-]+\.\w+", page.read_text(encoding="utf-8")):
            assert (ROOT / name).exists(), name


def test_every_test_that_the_page_of_checks_names_is_there():
    page = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/\w+\.py|android_demo/\S+\.kt)::(\w+)`", page)
    assert len(named) > 50
    for file, test in named:
        assert re.search(rf"\b(def|fun) {test}\(", (ROOT / file).read_text(encoding="utf-8")), test


def test_the_table_of_packages_is_what_lint_checks():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table: dict[int, set[str]] = {}
    for number, names in re.findall(r"^\| (\d+) \| (`.*?`) \|", page, re.MULTILINE):
        table.setdefault(int(number), set()).update(re.findall(r"`(\w+)`", names))
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    layers = tools["importlinter"]["contracts"][0]["layers"]
    assert [table[number] for number in sorted(table, reverse=True)] == [
        set(layer.split(" | ")) for layer in layers
    ]
