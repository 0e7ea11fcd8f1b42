"""What is used of other libraries beside their public APIs may be gone in their next version.

Speed-ups are left out then, with one warning; what a right program needs is refused in one line.
"""

import ast
import logging
import pkgutil
import subprocess
import sys
import tomllib
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from conftest import tiny_llama
from torch import nn

import hydraopt
from hydraopt.lowering.backends import find_backend
from hydraopt.lowering.program import export_module, lower
from hydraopt.lowering.quantization import quantize, round_base
from hydraopt.lowering.settings import ExportSettings
from hydraopt.lowering.tracing import fast_tracing
from hydraopt.private import TESTED, GoneError, Name, names, speedups
from hydraopt.private import executorch as private_executorch
from hydraopt.private import torch as private_torch
from hydraopt.private import torchao as private_torchao
from hydraopt.private import transformers as private_transformers
from hydraopt.rounding import IntegerWeight

PACKAGE = Path(hydraopt.__file__).parent
LIBRARIES = ("torch", "executorch", "torchao", "transformers")


def entries(module) -> list[Name]:
    """All names that a module looks up."""
    values = [x for x in vars(module).values() if isinstance(x, Name | dict | list)]
    listed = [[x] if isinstance(x, Name) else x for x in values]
    return [x for some in listed for x in some if isinstance(x, Name)]


SPEEDUPS = [
    *entries(private_torch),
    *private_torchao.OPERATORS,
    *private_executorch.PASSES,
    private_executorch.SORT,
    private_executorch.PASS_MANAGER,
    private_executorch.DECOMPOSITIONS,
]
TOGETHER = [  # with another name of the same speed-up, which is skipped as a whole
    *private_torchao.OPERATORS[1:],
    *[*private_executorch.PASSES][1:],
    private_executorch.PASS_MANAGER,
]
MODULES = (private_torch, private_executorch, private_torchao, private_transformers)
NEEDED = [x for module in MODULES for x in entries(module) if x not in SPEEDUPS]
INT4 = IntegerWeight(torch.ones(2, 32, dtype=torch.int8), torch.ones(2, 1), bits=4)
USES = {  # of what is needed
    private_torchao: [lambda: find_backend().row_layer(INT4)],
    private_executorch: [
        private_executorch.register_operators,
        lambda: private_executorch.data_file([], []),
        lambda: private_executorch.data_entries(Data()),
        lambda: private_executorch.data_entries(None),
    ],
    private_transformers: [
        lambda: private_transformers.loaded_names(tiny_llama(), ["a"], ["b"]),
        lambda: private_transformers.hub_file("org/model", "tokenizer.json"),
        lambda: private_transformers.adapter_on_hub("org/model"),
        private_transformers.byte_symbols,
    ],
}


class Data:
    def __init__(self):
        self._tensor_data = {"factors": b""}


@pytest.fixture
def gone(monkeypatch):
    """Let a name be gone, by which nothing else notices."""
    get = Name.get

    def take(entry: Name) -> None:
        def got(name: Name):
            if name == entry:
                raise name.gone()
            return get(name)

        monkeypatch.setattr(Name, "get", got)

    monkeypatch.setattr(names, "_warned", set())
    return take


@pytest.fixture
def warnings():
    """What the library warns of."""
    messages = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = logging.getLogger("hydraopt")
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


def lowered() -> bytes:
    """A program of one quantised layer."""
    torch.manual_seed(0)
    module = Layer()
    settings = ExportSettings(embedding="none")
    quantize(module, settings, round_base(module, settings))
    exported = export_module(module, (torch.ones(1, 32),), {"x": None}, {})
    return lower({"forward": exported}, find_backend()).buffer


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(32, 8)

    def forward(self, x, factors):
        return self.layer(x).relu()


@pytest.fixture(scope="module")
def program() -> bytes:
    return lowered()


def assert_told(entry: Name, warnings: list[str]) -> None:
    (warning,) = warnings
    assert warning.startswith("an export takes longer: ")
    assert str(entry) in warning and TESTED[entry.library] in warning


@pytest.mark.parametrize("entry", TOGETHER, ids=str)
def test_a_speedup_is_skipped_if_any_of_its_names_is_gone(entry, gone, warnings):
    gone(entry)
    with fast_tracing(), speedups([partial(private_executorch.few_passes, lambda: None)]):
        assert_told(entry, warnings)


@pytest.mark.slow
@pytest.mark.parametrize("entry", [x for x in SPEEDUPS if x not in TOGETHER], ids=str)
def test_without_a_speedup_the_program_is_the_same_and_one_warning_says_so(
    entry, gone, program, warnings
):
    gone(entry)
    assert lowered() == program
    assert_told(entry, warnings)


@pytest.mark.parametrize("entry", NEEDED, ids=str)
def test_what_is_needed_is_refused_with_the_version_that_was_tested(entry, gone):
    gone(entry)
    (uses,) = [uses for module, uses in USES.items() if entry in entries(module)]
    messages = []
    for use in uses:
        try:
            use()
        except GoneError as error:
            messages.append(str(error))
        except Exception:  # of other entries' uses: there is no such model or file
            continue
    assert any(
        str(entry) in x and f"install {entry.library} {TESTED[entry.library]}" in x
        for x in messages
    )


def test_a_name_that_is_not_there_is_gone():
    for entry in (
        Name("torch:no_such_name", "is not there"),
        Name("torch.no_such_module", "is not there"),
    ):
        with pytest.raises(GoneError, match=rf"torch 2\S+ has no {entry}, which is not there; ins"):
            entry.get()


@pytest.mark.slow
def test_names_are_looked_up_where_they_are_used():
    """The whole library is imported with every one of them gone."""
    modules = [x.name for x in pkgutil.walk_packages(hydraopt.__path__, "hydraopt.")]
    code = (
        "import sys; from hydraopt.private import Name\n"
        "def gone(name): raise name.gone()\n"
        "Name.get = gone\n"
        "for name in sys.argv[1:]: __import__(name)\n"
    )
    wanted = [x for x in modules if not x.endswith("__main__")]
    subprocess.run([sys.executable, "-c", code, *wanted], check=True)


def test_nobody_else_uses_them():
    private = {x.path.partition(":")[0] for module in MODULES for x in entries(module)}
    private -= {"torch", "torch.library", "torchao.quantization", "executorch.exir"}
    private -= {"transformers.utils"}
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name != "private":
            assert not set(imported(path)) & private, path
            for name in imported(path):
                assert "._" not in name or name.split(".")[0] not in LIBRARIES, (path, name)


def imported(path: Path) -> list[str]:
    """Modules and names that a file imports of other packages."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [x.name for x in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found += [node.module, *(f"{node.module}.{x.name}" for x in node.names)]
    return found


def test_the_versions_tested_are_those_that_are_required():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["executorch"]]
    for library in LIBRARIES:
        (requirement,) = [x for x in wanted if x.startswith((f"{library}=", f"{library}>"))]
        assert TESTED[library] in requirement
        assert version(library).startswith(TESTED[library])
