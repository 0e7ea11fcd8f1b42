"""Outputs are written whole or not at all."""

import subprocess
import sys
from unittest import mock

import pytest

from hydraopt import renames
from hydraopt.errors import OutputError
from hydraopt.files import Output, output_directory, remove_unfinished, replaced_file

KIND = Output("old", "ours", ("new", "file", "sub/*.pack"))
OURS = '{"ours": 1}'


@pytest.fixture(params=["renameat2", "portable"], autouse=True)
def system(request):
    """With and without Linux's rename that exchanges two names."""
    if request.param == "portable":
        with mock.patch.object(renames, "_renameat2", return_value=False):
            yield
    else:
        yield


def entries(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_finished_output_appears_under_its_name_only(tmp_path):
    with output_directory(tmp_path / "deep" / "out", KIND) as staging:
        (staging / "file").write_text("x")
        assert not (tmp_path / "deep" / "out").exists()
    assert entries(tmp_path / "deep") == ["out"]
    assert entries(tmp_path / "deep" / "out") == ["file"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_or_interrupt_leaves_nothing(tmp_path, failure):
    with pytest.raises(failure), output_directory(tmp_path / "out", KIND) as staging:
        (staging / "file").write_text("x")
        raise failure
    assert entries(tmp_path) == []


def test_a_full_disk_is_one_clear_error(tmp_path):
    with pytest.raises(OutputError, match=r"cannot write .*out: No space left on device"):
        with output_directory(tmp_path / "out", KIND):
            with open("/dev/full", "w") as full:
                full.write("x")
    assert entries(tmp_path) == []


def test_an_existing_output_is_kept_until_the_new_one_is_whole(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text(OURS)
    with pytest.raises(OutputError, match="exists already; choose another or pass --overwrite"):
        with output_directory(tmp_path / "out", KIND):
            pass
    with pytest.raises(ValueError, match="half-way"):
        with output_directory(tmp_path / "out", KIND, overwrite=True):
            raise ValueError("half-way")
    assert entries(tmp_path / "out") == ["old"]
    with output_directory(tmp_path / "out", KIND, overwrite=True) as staging:
        (staging / "new").write_text("new")
    assert entries(tmp_path / "out") == ["new"]
    assert entries(tmp_path) == ["out"]


def test_a_file_in_the_way_is_not_replaced(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="is a file, expected a directory"):
        with output_directory(tmp_path / "out", KIND, overwrite=True):
            pass
    assert (tmp_path / "out").read_text() == "mine"


def test_only_what_a_command_wrote_itself_is_overwritten(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat").write_text("cat")
    with pytest.raises(OutputError, match="holds other files and no old of ours"):
        with output_directory(tmp_path / "photos", KIND, overwrite=True):
            pass
    assert entries(tmp_path / "photos") == ["cat"]
    (tmp_path / "photos" / "old").write_text('{"name": "a web app"}')
    with pytest.raises(OutputError, match="holds other files and no old of ours"):
        with output_directory(tmp_path / "photos", KIND, overwrite=True):
            pass
    (tmp_path / "photos" / "old").write_text(OURS)
    with pytest.raises(OutputError, match="holds cat, which is not ours"):
        with output_directory(tmp_path / "photos", KIND, overwrite=True):
            pass
    assert entries(tmp_path / "photos") == ["cat", "old"]


def test_an_output_that_appears_meanwhile_is_kept(tmp_path):
    with pytest.raises(OutputError, match="exists already"):
        with output_directory(tmp_path / "out", KIND) as staging:
            (staging / "new").write_text("mine")
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "old").write_text(OURS)
    assert entries(tmp_path / "out") == ["old"]
    with pytest.raises(OutputError, match="holds other files"):
        with output_directory(tmp_path / "out", KIND, overwrite=True) as staging:
            (tmp_path / "out" / "old").write_text("foreign")
    assert entries(tmp_path) == ["out"]


def test_what_a_crash_left_aside_comes_back(tmp_path):
    """Only where two names cannot be exchanged at once."""
    (tmp_path / ".out.replaced").mkdir()
    (tmp_path / ".out.replaced" / "old").write_text(OURS)
    with pytest.raises(OutputError, match="exists already"):
        with output_directory(tmp_path / "out", KIND):
            pass
    assert entries(tmp_path) == ["out"]


WRITER = """
import os, signal, sys
from hydraopt import cli, renames
from hydraopt.cli import app
from hydraopt.files import Output, output_directory

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where tests run behind nohup
left = [int(sys.argv[2])]
if sys.argv[4] == "portable":
    renames._renameat2 = lambda *_: False

def count(event, arguments):
    if event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), int(sys.argv[3]))

def write(**_):
    sys.addaudithook(count)
    with output_directory(sys.argv[1], Output("old", "ours", ("new",)), overwrite=True) as staging:
        (staging / "new").write_text("new")
        (staging / "old").write_text('{"ours": 2}')

app.app = write
cli.main()
"""


@pytest.mark.parametrize("number", [1, 15, 9], ids=["HUP", "TERM", "KILL"])
def test_a_signal_at_any_change_of_the_disk_loses_nothing(tmp_path, number, request):
    """Before every rename, mkdir and removal in turn, until one run has none left to be met by."""
    system = "portable" if "portable" in request.node.name else "renameat2"
    out = tmp_path / "out"
    for turn in range(1, 60):
        if not out.exists():
            out.mkdir()
            (out / "old").write_text(OURS)
        before = (out / "old").read_text()
        done = subprocess.run(
            [sys.executable, "-c", WRITER, str(out), str(turn), str(number), system],
            capture_output=True,
            text=True,
            check=False,
        )
        renames.recover(out)
        assert (out / "old").read_text() in (before, '{"ours": 2}')
        assert entries(out) in (["old"], ["new", "old"])
        if number != 9:
            assert entries(tmp_path) == ["out"], turn
            assert done.stderr.count("\n") == (1 if done.returncode else 0)
        if done.returncode == 0:
            break
        (out / "old").write_text(OURS)
        (out / "new").unlink(missing_ok=True)
    assert 3 < turn < 59


def test_a_link_is_followed_and_the_current_directory_is_kept(tmp_path, monkeypatch):
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to("target")
    with output_directory(tmp_path / "link", KIND, overwrite=True) as staging:
        (staging / "new").write_text("new")
    assert entries(tmp_path / "target") == ["new"]
    assert entries(tmp_path) == ["link", "target"]
    monkeypatch.chdir(tmp_path / "target")
    for path in (".", ".."):
        with pytest.raises(OutputError, match="holds the current directory"):
            with output_directory(path, KIND, overwrite=True):
                pass
    assert entries(tmp_path) == ["link", "target"]


def test_the_old_output_comes_back_if_the_last_rename_fails(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text(OURS)
    with pytest.raises(OutputError, match="cannot write"):
        with output_directory(tmp_path / "out", KIND, overwrite=True) as staging:
            staging.rmdir()
    assert entries(tmp_path / "out") == ["old"]
    assert entries(tmp_path) == ["out"]


def test_what_an_aborted_handler_leaves_is_removed_at_once(tmp_path):
    """Files and directories that have not their name yet, before any exception is raised."""
    with pytest.raises(OutputError), replaced_file(tmp_path / "file") as file:
        with output_directory(tmp_path / "out", KIND) as staging:
            file.write_text("x")
            (staging / "half").write_text("x")
            remove_unfinished()
            assert entries(tmp_path) == []
    assert entries(tmp_path) == []
