"""Messages speak of parameters; the command line adds its flags for them."""

import ast
import pickle
import re
from pathlib import Path

import pytest

import hydraopt
from hydraopt.cli.ending import fail
from hydraopt.errors import HydraOptError, UsageError

PACKAGE = Path(hydraopt.__file__).parent


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ((), ""),
        (("max_length",), " (--max-length)"),
        (("swap=inputs",), " (--swap inputs)"),
        (("base", "data"), " (--base, --data)"),
    ],
)
def test_the_command_line_adds_its_flags(capsys, options, flags):
    with pytest.raises(SystemExit):
        fail(UsageError("too long; export again", options=options))
    assert capsys.readouterr().err == f"error: too long; export again{flags}\n"


def test_the_options_of_an_error_reach_another_process():
    error = pickle.loads(pickle.dumps(HydraOptError("no", options=["base"])))
    assert (str(error), error.options) == ("no", ("base",))


def test_what_the_library_raises_names_no_flag():
    library = [path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE / "cli"]
    assert len(library) > 200
    assert not [found for path in library for found in flags_raised(path)]


def flags_raised(path: Path) -> list[str]:
    return [
        f"{path}:{text.lineno}: {text.value}"
        for raised in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(raised, ast.Raise)
        for text in ast.walk(raised)
        if isinstance(text, ast.Constant) and re.search(r"(^|\s)--[a-z]", str(text.value))
    ]
