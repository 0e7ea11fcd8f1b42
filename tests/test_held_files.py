"""In a directory that is held, single files of ours are changed; all others stay."""

import os
import threading
from unittest import mock

import pytest
from own_outputs import entries, listing, write

from hydraopt.errors import OutputError
from hydraopt.files import LIST, locked_directory

pytestmark = pytest.mark.usefixtures("system")


def change(path, contents, gone=()):
    with locked_directory(path) as directory:
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
        "mine": "did not write .*mine, so it is not overwritten; move it away",
        "old": "did not write .*old, ",
        "sub/new": "sub is a link or not a directory",
        "mine/new": "mine is a link or not a directory",
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
    with locked_directory(out):
        waiting = threading.Thread(target=lambda: found.append(entries_held(out)))
        waiting.start()
        waiting.join(0.1)
        assert not found
        out.rename(tmp_path / "before")
        write(out, later="2")
    waiting.join()
    assert found == [["later"]]


def entries_held(path):
    with locked_directory(path) as directory:
        return sorted({*os.listdir(directory.handle)} - {LIST})


def test_a_directory_that_was_moved_meanwhile_is_not_written(tmp_path, out):
    with locked_directory(out) as directory:
        out.rename(tmp_path / "moved")
        write(out, later="2")
        before = listing(tmp_path)
        with pytest.raises(OutputError, match="was moved or replaced during the change; try again"):
            directory.change(directory.listing(), {"new": b"1"})
    assert listing(tmp_path) == before


def test_a_full_disk_changes_nothing_in_a_directory(out):
    before = listing(out)
    with mock.patch("os.fsync", side_effect=OSError(28, "No space left on device")):
        with pytest.raises(OutputError, match=r"cannot write .*out: No space left on device"):
            change(out, {"new": b"1"})
    assert listing(out) == before
