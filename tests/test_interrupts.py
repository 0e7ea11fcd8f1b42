"""A signal ends a command with one line and exit code 128 + n, wherever it arrives."""

import signal

import pytest
from devices import living, wait_until
from warm import WarmPython

BOTH = (signal.SIGINT, signal.SIGTERM)
XNNPACK = "executorch.backends.xnnpack.xnnpack_preprocess.XnnpackBackend"
POINTS = (  # of `export`, in the order in which it comes to them
    ("transformers.AutoModelForCausalLM.from_pretrained", signal.SIGINT),
    ("torch.export.export", signal.SIGTERM),
    ("torch._subclasses.fake_tensor.FakeTensorMode.dispatch", signal.SIGINT),  # from compiled code
    (f"{XNNPACK}.preprocess", signal.SIGTERM),
    ("os.fsync", signal.SIGINT),  # when the bundle is written
)

# A process started in the background by a script inherits an ignored SIGINT: set it back.
INTERRUPTED = """
import os, signal, sys
from unittest import mock
from hydraopt.cli import app as cli
signal.signal(signal.SIGINT, signal.default_int_handler)
def arrive(*_, **__):
    os.kill(os.getpid(), signal.{signal})
"""


def run(process, script, number, *arguments):
    done = process.run(INTERRUPTED.format(signal=number.name) + script, *arguments)
    return done.returncode, done.stdout, done.stderr


def ended_by(number):
    return 128 + number, "", f"error: interrupted by {number.name}\n"


@pytest.fixture(scope="module")
def exporting():
    """A process that has imported all that an export takes."""
    process = WarmPython("hydraopt.cli.app", "hydraopt.lowering.bundle")
    yield process
    process.close()


@pytest.mark.slow
@pytest.mark.parametrize(("point", "number"), POINTS)
def test_an_export_leaves_nothing_behind(exporting, averaged, base, tmp_path, point, number):
    averaged.save(tmp_path / "merged")
    arguments = ["export", tmp_path / "merged", "--base", base, "-o", tmp_path / "out" / "b"]
    arguments += ["--static", "--quantize", "none"]  # the smallest program
    script = f"mock.patch('{point}', side_effect=arrive).start(); cli.main()"
    assert run(exporting, script, number, *arguments) == ended_by(number)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize(
    "becomes",
    [
        "raise TypeError('not what was raised')",
        "raise KeyboardInterrupt",
        "raise OSError('cannot write')",
        "return",
        "arrive()",  # a second signal while the first is dealt with
        "logging.getLogger('torch').exception('it failed')",
        "os.write(2, b'terminate called')",
    ],
)
def test_whatever_becomes_of_its_exception(commands, tmp_path, becomes, number):
    script = f"""
import logging
import typer
from hydraopt.files import output_directory
app = typer.Typer()
@app.command()
def command():
    with output_directory({str(tmp_path / "out")!r}, "kind") as staging:
        (staging / "half").write_text("x")
        try:
            arrive()
        except BaseException:
            {becomes}
cli.app = app
cli.main()
"""
    assert run(commands, script, number) == ended_by(number)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", BOTH)
def test_where_no_exception_can_be_raised(commands, number):
    """Python prints what a finaliser raises, and goes on."""
    script = """
class Finalised:
    def __init__(self, *_, **__):
        pass
    def __del__(self):
        arrive()
cli.app = Finalised
cli.main()
"""
    assert run(commands, script, number) == ended_by(number)


@pytest.mark.parametrize("number", BOTH)
def test_a_crash_leaves_nothing_behind(commands, tmp_path, number):
    """As when compiled code calls back into Python and cannot pass an exception on."""
    script = f"""
from hydraopt.files import output_directory
def command(*_, **__):
    with output_directory({str(tmp_path / "out")!r}, "kind") as staging:
        (staging / "half").write_text("x")
        try:
            arrive()
        except BaseException:
            os.abort()
cli.app = command
cli.main()
"""
    code, _, _ = run(commands, script, number)
    assert code == -signal.SIGABRT
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", BOTH)
def test_a_command_that_waits_for_its_child(commands, tmp_path, number):
    """As `verify` does, whose child must not outlive it."""
    script = f"""
import time
from hydraopt.cli.child import in_child
def work():
    open({str(tmp_path / "child")!r}, "w").write(str(os.getpid()))
    os.kill(os.getppid(), signal.{number.name})
    time.sleep(600)
cli.app = lambda *_, **__: in_child(work)
cli.main()
"""
    assert run(commands, script, number) == ended_by(number)
    wait_until(lambda: not living((tmp_path / "child").read_text()), seconds=30)


def test_an_ignored_interrupt_stays_ignored(commands):
    """As in a command that a script started in the background."""
    script = """
signal.signal(signal.SIGINT, signal.SIG_IGN)
cli.app = lambda *_, **__: (arrive(), print("went on"))
cli.main()
"""
    assert run(commands, script, signal.SIGINT) == (0, "went on\n", "")
