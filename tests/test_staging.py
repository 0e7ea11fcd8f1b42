"""What a killed writer leaves beside an output goes; a writer that lives is not disturbed."""

import shutil
import threading
from unittest import mock

import pytest
from own_outputs import KIND, entries, listing, write

from hydraopt.errors import OutputError
from hydraopt.files import output_directory, remove_unfinished, replaced_file, staging

pytestmark = pytest.mark.usefixtures("system")

STALE = "0123456789abcdef"


def leave(directory, name="out", *, mark=True):
    """What a killed writer of ``name`` leaves."""
    left = directory / f".{name}.{STALE}"
    left.mkdir()
    if mark:
        with staging.opened(directory) as parent:
            content = staging.Staging(directory / name, parent, left.name)._mark
        (left / staging.MARKER).write_bytes(content)
    (left / "new").mkdir()
    (left / "new" / "half").write_text("x")
    return left


def test_what_a_killed_writer_left_is_removed(tmp_path):
    leave(tmp_path)
    write(tmp_path / "out", new="1")
    assert entries(tmp_path) == ["out"]


def test_the_output_that_a_kill_left_aside_comes_back(tmp_path, out):
    """Only where two names cannot be exchanged at once."""
    left = leave(tmp_path)
    out.rename(left / "old")
    with pytest.raises(OutputError, match="exists already"):
        write(out)
    assert entries(out) == ["old"]
    assert entries(tmp_path) == ["out"]


def test_of_the_output_that_was_replaced_before_a_kill_goes_what_is_ours(tmp_path, out):
    left = leave(tmp_path)
    out.rename(left / "old")
    (left / "old" / "photo").write_text("mine")
    write(tmp_path / "other", new="1")
    assert (left / "old" / "old").exists()  # it is none of this output's
    out.mkdir()
    with pytest.raises(OutputError, match="exists already"):
        write(out)
    assert listing(left) == {"old": mock.ANY, "old/photo": mock.ANY}


@pytest.mark.parametrize(
    "name", [".out.replaced", ".out.deadbeef", f".out.{STALE}", f"..out.{STALE}"]
)
def test_names_like_ours_are_the_users(tmp_path, out, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "new").mkdir()
    (tmp_path / name / "new" / "photo").write_text("mine")
    (tmp_path / f".out.{STALE[::-1]}").symlink_to(tmp_path / name)
    before = listing(tmp_path / name)
    write(out, overwrite=True, new="2")
    assert listing(tmp_path / name) == before


def test_a_marked_directory_under_another_name_is_the_users(tmp_path, out):
    left = leave(tmp_path, "elsewhere")
    moved = left.rename(tmp_path / f".out.{STALE}")
    before = listing(moved)
    write(out, overwrite=True, new="2")
    assert listing(moved) == before


def test_a_writer_that_lives_is_not_disturbed(tmp_path):
    with output_directory(tmp_path / "out", KIND) as new:
        write(tmp_path / "out", first="1")
        (new / "file").write_text("x")
        write(tmp_path / "out", overwrite=True, second="2")
        assert (new / "file").exists()
        shutil.rmtree(tmp_path / "out")
    assert entries(tmp_path / "out") == ["file"]


def test_of_two_writers_one_wins(tmp_path):
    """And of several that overwrite each other one is there, whole."""
    errors = []

    def call(number, overwrite):
        try:
            write(tmp_path / "out", overwrite, same=str(number), **{f"own{number}": "x"})
        except OutputError as error:
            errors.append(error)

    for overwrite in (False, True):
        threads = [threading.Thread(target=call, args=(x, overwrite)) for x in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if not overwrite:
            assert len(errors) == 5
            errors.clear()
        winner = (tmp_path / "out" / "same").read_text()
        assert entries(tmp_path / "out") == [f"own{winner}", "same"]
        assert entries(tmp_path) == ["out"]


WRITER = """
import os, signal, sys
from hydraopt import cli
from hydraopt.cli import app
from hydraopt.files import output_directory, renames

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where tests run behind nohup
left = [int(sys.argv[2])]
if sys.argv[4] == "portable":
    renames._renameat2 = lambda *_: False

def count(event, arguments):
    if event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), int(sys.argv[3]))

def write(*_, **__):
    sys.addaudithook(count)
    with output_directory(sys.argv[1], "kind", overwrite=True) as new:
        (new / "new").write_text("new")
        (new / "old").write_text("2")

app.app = write
cli.main()
"""


@pytest.mark.parametrize("number", [1, 15, 9], ids=["HUP", "TERM", "KILL"])
def test_a_signal_at_any_change_of_the_disk_loses_nothing(commands, tmp_path, number, request):
    """Before every rename, mkdir and removal in turn, until one run has none left to be met by."""
    system = "portable" if "portable" in request.node.name else "renameat2"
    out = tmp_path / "out"
    for turn in range(1, 60):
        shutil.rmtree(out, ignore_errors=True)
        write(out, old="1")
        done = commands.run(WRITER, out, turn, number, system)
        if number != 9:
            assert entries(tmp_path) == ["out"], turn
            assert done.stderr.count("\n") == (1 if done.returncode else 0)
        with pytest.raises(OutputError, match="exists already"):
            write(out)
        assert (entries(out), (out / "old").read_text()) in ((["old"], "1"), (["new", "old"], "2"))
        strays = [path for path in tmp_path.iterdir() if path != out]
        assert not any(path.is_file() for stray in strays for path in stray.rglob("*")), turn
        for stray in strays:  # made, and killed before it was marked, or after the mark was gone
            stray.rmdir()
        if done.returncode == 0:
            break
    assert 3 < turn < 59


def test_what_an_aborted_handler_leaves_is_removed_at_once(tmp_path):
    """Files and directories that have not their name yet, before any exception is raised."""
    with pytest.raises(OutputError), replaced_file(tmp_path / "file") as file:
        with output_directory(tmp_path / "out", KIND) as new:
            file.write_text("x")
            (new / "half").write_text("x")
            remove_unfinished()
            assert entries(tmp_path) == []
    assert entries(tmp_path) == []


def test_without_locks_nothing_is_taken_for_stale(tmp_path, out):
    left = leave(tmp_path)
    with mock.patch("fcntl.flock", side_effect=OSError(95, "Operation not supported")):
        write(out, overwrite=True, new="2")
        assert (left / "new" / "half").exists()
        shutil.rmtree(left / "new")
        out.rename(left / "old")
        with pytest.raises(OutputError, match="exists already"):
            write(out)
    assert entries(out) == ["new"]
