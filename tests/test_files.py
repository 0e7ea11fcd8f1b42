"""Outputs are written whole or not at all, and replace what we wrote only."""

import logging.handlers
import os
import shutil
import subprocess
import sys
import threading
from unittest import mock

import pytest

from hydraopt.errors import OutputError
from hydraopt.files import (
    LIST,
    held,
    output_directory,
    outputs,
    remove_unfinished,
    replaced_file,
    staging,
)

KIND = "kind"


@pytest.fixture(params=["renameat2", "portable"], autouse=True)
def system(request):
    """With and without Linux's rename that exchanges two names."""
    if request.param == "portable":
        with mock.patch("hydraopt.files.renames._renameat2", return_value=False):
            yield
    else:
        yield


def entries(directory):
    """Names in a directory, but for the list that every output has."""
    return sorted({path.name for path in directory.iterdir()} - {LIST})


def write(path, overwrite=False, **files):
    with output_directory(path, KIND, overwrite=overwrite) as new:
        for name, text in files.items():
            (new / name).write_text(text)


@pytest.fixture
def out(tmp_path):
    """An output of ours."""
    write(tmp_path / "out", old="1")
    return tmp_path / "out"


def test_a_finished_output_appears_under_its_name_only(tmp_path):
    with output_directory(tmp_path / "deep" / "out", KIND) as new:
        (new / "file").write_text("x")
        assert not (tmp_path / "deep" / "out").exists()
    assert entries(tmp_path / "deep") == ["out"]
    assert entries(tmp_path / "deep" / "out") == ["file"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_or_interrupt_leaves_nothing(tmp_path, failure):
    with pytest.raises(failure), output_directory(tmp_path / "out", KIND) as new:
        (new / "file").write_text("x")
        raise failure
    assert entries(tmp_path) == []


def test_a_full_disk_is_one_clear_error(tmp_path):
    with pytest.raises(OutputError, match=r"cannot write .*out: No space left on device"):
        with output_directory(tmp_path / "out", KIND):
            with open("/dev/full", "w") as full:
                full.write("x")
    with mock.patch.object(os, "write", side_effect=OSError(28, "No space left on device")):
        with pytest.raises(OutputError, match="No space left"):
            write(tmp_path / "out")
    assert entries(tmp_path) == []


def test_an_existing_output_is_kept_until_the_new_one_is_whole(tmp_path, out):
    with pytest.raises(OutputError, match="exists already; choose another or pass --overwrite"):
        write(out)
    with pytest.raises(ValueError, match="half-way"):
        with output_directory(out, KIND, overwrite=True):
            raise ValueError("half-way")
    assert entries(out) == ["old"]
    write(out, overwrite=True, new="2")
    assert entries(out) == ["new"]
    assert entries(tmp_path) == ["out"]


def test_a_file_in_the_way_is_not_replaced(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="is a file, expected a directory"):
        write(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out").read_text() == "mine"


FOREIGN = {
    "a file": lambda out: (out / "photo.png").write_text("mine"),
    "a file with a name of ours, deeper": lambda out: (
        (out / "sub").mkdir(),
        (out / "sub" / "old").write_text("1"),
    ),
    "a file that was edited": lambda out: (out / "old").write_text("2"),
    "a file that was edited, of the same size and time": lambda out: (
        (out / "old").write_text("2"),
        os.utime(out / "old", ns=(0, 0)),
    ),
    "a dot file": lambda out: (out / ".netrc").write_text("mine"),
    "an empty directory": lambda out: (out / "photos").mkdir(),
    "a link to a file": lambda out: (out / "link").symlink_to("old"),
    "a link to nothing": lambda out: (out / "link").symlink_to("nothing"),
    "a link to a directory": lambda out: (out / "link").symlink_to("/"),
    "a link in the place of a file": lambda out: (
        (out / "old").rename(out.parent / "elsewhere"),
        (out / "old").symlink_to("../elsewhere"),
    ),
    "a directory in the place of a file": lambda out: (
        (out / "old").unlink(),
        (out / "old").mkdir(),
    ),
    "a pipe": lambda out: os.mkfifo(out / "pipe"),
    "another output inside": lambda out: write(out / "inner", old="1"),
    "a list that was edited": lambda out: (out / LIST).write_text(
        (out / LIST).read_text().replace('"old"', '"photo.png"')
    ),
    "no list": lambda out: (out / LIST).unlink(),
    "a list that is a link": lambda out: (
        (out / LIST).rename(out.parent / "list"),
        (out / LIST).symlink_to("../list"),
    ),
}


def listing(directory):
    """Everything below a directory, byte for byte."""
    found = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.is_file() and path.read_bytes()
        found[path.relative_to(directory).as_posix()] = (status.st_mode, status.st_ino, content)
    return found


@pytest.mark.parametrize("change", FOREIGN)
def test_what_is_not_ours_is_never_overwritten(tmp_path, out, change):
    FOREIGN[change](out)
    before = listing(tmp_path)
    with pytest.raises(OutputError, match=r"is not overwritten"):
        write(out, overwrite=True, old="2")
    assert listing(tmp_path) == before


def test_an_output_of_another_kind_is_not_overwritten(out):
    with pytest.raises(OutputError, match="is a kind, expected a bundle, so it is not overwritten"):
        with output_directory(out, "bundle", overwrite=True):
            pass
    assert entries(out) == ["old"]


def test_an_output_may_lack_what_we_wrote(tmp_path, out):
    (out / "old").unlink()
    write(out, overwrite=True, new="2")
    assert entries(out) == ["new"]
    shutil.rmtree(out)
    out.mkdir()
    write(out, overwrite=True, new="2")
    assert entries(out) == ["new"]


def test_an_output_that_appears_meanwhile_is_kept(tmp_path):
    with pytest.raises(OutputError, match="exists already"):
        with output_directory(tmp_path / "out", KIND) as new:
            (new / "new").write_text("mine")
            write(tmp_path / "out", old="1")
    assert entries(tmp_path / "out") == ["old"]
    with pytest.raises(OutputError, match="holds photo, which is not ours"):
        with output_directory(tmp_path / "out", KIND, overwrite=True):
            (tmp_path / "out" / "photo").write_text("mine")
    assert entries(tmp_path / "out") == ["old", "photo"]
    assert entries(tmp_path) == ["out"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_file_that_comes_at_the_last_moment_stays(tmp_path, out, moment):
    """Between the last look at what is replaced and its removal."""
    replace = outputs._replace

    def late(*places):
        if moment == "before":
            (out / "photo").write_text("mine")
        replace(*places)
        if moment == "after":
            (next(tmp_path.glob(".out.*")) / "old" / "photo").write_text("mine")

    with mock.patch.object(outputs, "_replace", late):
        with pytest.raises(OutputError, match="holds photo, which came meanwhile"):
            write(out, overwrite=True, new="2")
    assert entries(out) == ["old", "photo"]
    assert entries(tmp_path) == ["out"]


def test_a_file_that_comes_while_the_old_output_is_removed_stays_and_is_told(tmp_path, out):
    def late(handle, ours):
        descriptor = os.open("photo", os.O_CREAT | os.O_WRONLY, dir_fd=handle)
        os.close(descriptor)
        remove(handle, ours)

    remove, told = outputs.remove_held, logging.handlers.BufferingHandler(9)
    staging.logger.addHandler(told)
    with mock.patch.object(outputs, "remove_held", late):
        write(out, overwrite=True, new="2")
    staging.logger.removeHandler(told)
    assert entries(out) == ["new"]
    (left,) = tmp_path.glob(".out.*")
    assert entries(left) == ["old"]
    assert entries(left / "old") == ["photo"]
    (record,) = told.buffer
    assert record.getMessage() == f"{left} is kept: it holds what is not ours"


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

def write(**_):
    sys.addaudithook(count)
    with output_directory(sys.argv[1], "kind", overwrite=True) as new:
        (new / "new").write_text("new")
        (new / "old").write_text("2")

app.app = write
cli.main()
"""


@pytest.mark.parametrize("number", [1, 15, 9], ids=["HUP", "TERM", "KILL"])
def test_a_signal_at_any_change_of_the_disk_loses_nothing(tmp_path, number, request):
    """Before every rename, mkdir and removal in turn, until one run has none left to be met by."""
    system = "portable" if "portable" in request.node.name else "renameat2"
    out = tmp_path / "out"
    for turn in range(1, 60):
        shutil.rmtree(out, ignore_errors=True)
        write(out, old="1")
        done = subprocess.run(
            [sys.executable, "-c", WRITER, str(out), str(turn), str(number), system],
            capture_output=True,
            text=True,
            check=False,
        )
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


def test_a_link_is_followed_and_the_current_directory_is_kept(tmp_path, monkeypatch):
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to("target")
    write(tmp_path / "link", overwrite=True, new="1")
    assert entries(tmp_path / "target") == ["new"]
    assert entries(tmp_path) == ["link", "target"]
    monkeypatch.chdir(tmp_path / "target")
    for path in (".", ".."):
        with pytest.raises(OutputError, match="holds the current directory"):
            write(path, overwrite=True)
    assert entries(tmp_path) == ["link", "target"]


def test_the_old_output_comes_back_if_the_last_rename_fails(tmp_path, out):
    def fails(source, target):
        if source[1] == "new" and target[1] == "out":
            raise OSError(5, "Input/output error")
        rename(source, target)

    rename = outputs.rename
    with mock.patch.multiple(outputs, rename=fails, exchange=lambda *_: False):
        with pytest.raises(OutputError, match=r"cannot write .*out: Input/output error"):
            write(out, overwrite=True, new="2")
    assert entries(out) == ["old"]
    assert entries(tmp_path) == ["out"]


def test_what_an_aborted_handler_leaves_is_removed_at_once(tmp_path):
    """Files and directories that have not their name yet, before any exception is raised."""
    with pytest.raises(OutputError), replaced_file(tmp_path / "file") as file:
        with output_directory(tmp_path / "out", KIND) as new:
            file.write_text("x")
            (new / "half").write_text("x")
            remove_unfinished()
            assert entries(tmp_path) == []
    assert entries(tmp_path) == []


def test_a_file_is_replaced_when_it_is_whole(tmp_path):
    for text in ("1", "2"):
        with replaced_file(tmp_path / "file") as file:
            file.write_text(text)
        assert (tmp_path / "file").read_text() == text
    with pytest.raises(ValueError, match="half-way"), replaced_file(tmp_path / "file") as file:
        file.write_text("3")
        raise ValueError("half-way")
    assert (tmp_path / "file").read_text() == "2"
    assert entries(tmp_path) == ["file"]


def change(path, contents, gone=()):
    with held(path) as directory:
        directory.change(directory.listing(), contents, gone)


def test_files_of_ours_are_added_replaced_and_removed(out):
    change(out, {"sub/new": b"1", "old": b"2"})
    assert (out / "sub" / "new").read_bytes() == b"1"
    change(out, {"old": b"3"}, ["sub/new"])
    assert (out / "old").read_bytes() == b"3"
    assert entries(out) == ["old"]
    change(out, {"sub/new": b"1"})
    write(out, overwrite=True, whole="4")
    assert entries(out) == ["whole"]


def test_files_that_are_not_ours_are_neither_replaced_nor_removed(out, tmp_path):
    (out / "mine").write_text("mine")
    (out / "old").write_text("edited")
    (tmp_path / "home").mkdir()
    (out / "sub").symlink_to("../home")
    before = listing(tmp_path)
    for name, says in {
        "mine": "mine is not ours, so it is not overwritten; move it away",
        "old": "old is not ours",
        "sub/new": "sub is a link or no directory",
        "mine/new": "mine is a link or no directory",
    }.items():
        with pytest.raises(OutputError, match=says):
            change(out, {"first": b"1", name: b"2"})
        assert listing(tmp_path) == before
    change(out, {"new": b"1"}, ["mine", "old", "sub/x", "../home/x"])
    assert listing(tmp_path).items() - before.items() == {
        (f"out/{name}", listing(out)[name]) for name in ("new", LIST)
    }


def test_who_waited_for_a_directory_gets_the_one_that_is_there_then(tmp_path, out):
    """As when a bundle is exported again while a task is added to it."""
    found = []
    with held(out):
        waiting = threading.Thread(target=lambda: found.append(entries_held(out)))
        waiting.start()
        waiting.join(0.1)
        assert not found
        out.rename(tmp_path / "before")
        write(out, later="2")
    waiting.join()
    assert found == [["later"]]


def entries_held(path):
    with held(path) as directory:
        return sorted({*os.listdir(directory.handle)} - {LIST})


def test_a_directory_that_was_moved_meanwhile_is_not_written(tmp_path, out):
    with held(out) as directory:
        out.rename(tmp_path / "moved")
        write(out, later="2")
        before = listing(tmp_path)
        with pytest.raises(OutputError, match="was moved or replaced meanwhile; try again"):
            directory.change(directory.listing(), {"new": b"1"})
    assert listing(tmp_path) == before


def test_a_full_disk_changes_nothing_in_a_directory(out):
    before = listing(out)
    with mock.patch("os.fsync", side_effect=OSError(28, "No space left on device")):
        with pytest.raises(OutputError, match=r"cannot write .*out: No space left on device"):
            change(out, {"new": b"1"})
    assert listing(out) == before


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
