"""What starts fast imports little: a new process tells what it has loaded."""

import subprocess
import sys

import pytest

# each takes from half a second to several seconds to import
HEAVY = ("torch", "transformers", "peft", "sklearn", "numba", "matplotlib", "executorch", "pandas")
REPORT = "\nimport sys; print(*sys.modules)"
HELP = """
from hydraopt.cli import main
sys.argv = {arguments}
try:
    main()
except SystemExit as end:
    assert not end.code
"""
FORMATS = """
import pkgutil
from importlib import import_module
import hydraopt.formats
for module in pkgutil.iter_modules(hydraopt.formats.__path__):
    import_module("hydraopt.formats." + module.name)
"""


def loaded(code: str) -> set[str]:
    """The modules of a new process after ``code``."""
    command = [sys.executable, "-c", f"import sys\n{code}{REPORT}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {*done.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize(
    "command",
    ["", "run", "evaluate", "export", "compress", "train sparse", "profile", "recipe"],
)
def test_help_of_a_command_imports_nothing_heavy(command):
    modules = loaded(HELP.format(arguments=["hydraopt", *command.split(), "--help"]))
    assert "hydraopt.cli.app" in modules
    assert not modules & {*HEAVY}


def test_a_session_imports_torch_but_nothing_that_makes_bundles():
    """ExecuTorch comes when a bundle is opened."""
    modules = loaded("from hydraopt.runtime import Session")
    assert modules >= {"torch", "hydraopt.runtime.session"}
    parts = {f"hydraopt.{part}" for part in ("training", "merging", "packing", "lowering")}
    assert not modules & (parts | {*HEAVY, "huggingface_hub"} - {"torch"})


def test_formats_are_read_without_torch():
    modules = loaded(FORMATS)
    assert modules >= {"hydraopt.formats.manifest", "hydraopt.formats.layout"}
    assert not modules & {*HEAVY}


def test_packing_stands_on_no_method_and_no_training():
    modules = loaded("import hydraopt.packing")
    assert modules >= {"torch", "hydraopt.packing.codec", "hydraopt.stored.merged"}
    above = ("hydraopt.merging", "hydraopt.training", "hydraopt.calibration", "hydraopt.lowering")
    assert not [name for name in modules if name.startswith(above)]
    assert not modules & {"transformers", "peft", "sklearn", "matplotlib", "numba", "executorch"}
