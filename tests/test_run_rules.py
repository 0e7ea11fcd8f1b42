"""The rules that runs of the tests keep to, seen at work."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from devices import require_packages
from isolation import DEVICE_PROGRAMS
from run_rules import MachineLacksError

TESTS = Path(__file__).parent
PAIR = """
import pytest
def pytest_generate_tests(metafunc):
    metafunc.parametrize("number", range(4))
def test_one(number):
    pass
"""


def run(directory: Path, content: str, *options: str) -> tuple[int, str]:
    """Exit code and output of a run of its own, of one file under the same rules."""
    (directory / "test_it.py").write_text(content)
    (directory / "conftest.py").write_text(
        f"import sys; sys.path.insert(0, {str(TESTS)!r}); pytest_plugins = ['run_rules']\n"
    )
    plugins = ["-p", "no:cacheprovider", "-p", "xdist"]  # others that are installed take seconds
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, *options, "."],
        cwd=directory,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_a_group_that_ran_in_two_processes_fails_the_run(tmp_path):
    code, output = run(tmp_path, PAIR, "-n", "2", "--dist", "loadgroup")
    assert code == 0, output
    code, output = run(tmp_path, PAIR, "-n", "2", "--dist", "load")
    assert code == 1
    assert output.count("tests of one group ran in several processes: test_it.py") == 1


def test_a_failure_is_named_before_the_run_ends(tmp_path):
    failing = "def test_wrong(): assert False\ndef test_right(): pass\n"
    for options in ((), ("-n", "2", "--dist", "loadgroup")):
        code, output = run(tmp_path, failing, *options)
        assert code == 1
        before, _, _ = output.partition("= FAILURES =")
        assert "failed: test_it.py::test_wrong" in before


def test_only_what_the_machine_lacks_is_skipped(tmp_path):
    lacks = "from run_rules import MachineLacksError as Lacks\ndef test(): raise Lacks('no adb')"
    code, output = run(tmp_path, lacks)
    assert code == 0
    assert "skipped, because no adb: test_it.py (1)" in output
    for content in (
        "import pytest\ndef test(): pytest.skip('no mood')",
        "import pytest\n@pytest.mark.skip(reason='no mood')\ndef test(): pass",
        "import pytest\npytest.skip('no mood', allow_module_level=True)",
    ):
        code, output = run(tmp_path, content)
        assert code != 0
        assert "no mood" in output
        assert "1 failed" in output or "1 error" in output


def test_installed_packages_are_not_lacking():
    with pytest.raises(MachineLacksError, match="flying needs the Debian packages wings"):
        require_packages({"no-such-program": "wings"}, "flying")
    if not (installed := sorted(Path("/var/lib/dpkg/info").glob("*.list"))):
        raise MachineLacksError("packages are looked up by dpkg, which is Debian's")
    with pytest.raises(AssertionError, match="are installed, but their programs are not on the"):
        require_packages({"no-such-program": installed[0].stem}, "flying")


def test_no_test_leaves_this_machine():
    with socket.socket() as link, pytest.raises(pytest.fail.Exception, match="this machine alone"):
        link.connect(("192.0.2.1", 80))


@pytest.mark.parametrize("program", DEVICE_PROGRAMS)
def test_a_test_without_the_marker_starts_no_device(program):
    refused = pytest.fail.Exception if DEVICE_PROGRAMS[program] else OSError
    with pytest.raises(refused, match=program):
        subprocess.run([program], check=False)


def test_nothing_is_asked_of_a_hub():
    from huggingface_hub import constants

    assert constants.HF_HUB_OFFLINE
