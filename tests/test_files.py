"""Outputs are written whole or not at all, and replace what we wrote only."""

import logging.handlers
import os
import shutil
from unittest import mock

import pytest
from own_outputs import KIND, entries, listing, write

from hydraopt.errors import OutputError
from hydraopt.files import LIST, new_file, output_directory, outputs, replaced_file, staging

pytestmark = pytest.mark.usefixtures("system")


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
    with pytest.raises(OutputError, match="exists already; choose another or overwrite it"):
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
    with pytest.raises(OutputError, match="holds photo, which hydraopt did not write"):
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
        with pytest.raises(OutputError, match="holds photo, which was added in the meantime"):
            write(out, overwrite=True, new="2")
    assert entries(out) == ["old", "photo"]
    assert entries(tmp_path) == ["out"]


def test_a_file_that_comes_while_the_old_output_is_removed_stays_and_is_reported(tmp_path, out):
    def late(handle, ours):
        descriptor = os.open("photo", os.O_CREAT | os.O_WRONLY, dir_fd=handle)
        os.close(descriptor)
        remove(handle, ours)

    remove, log = outputs.remove_listed, logging.handlers.BufferingHandler(9)
    staging.logger.addHandler(log)
    with mock.patch.object(outputs, "remove_listed", late):
        write(out, overwrite=True, new="2")
    staging.logger.removeHandler(log)
    assert entries(out) == ["new"]
    (left,) = tmp_path.glob(".out.*")
    assert entries(left) == ["old"]
    assert entries(left / "old") == ["photo"]
    (record,) = log.buffer
    assert record.getMessage() == f"{left} is kept: it holds files that hydraopt did not write"


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


def test_a_new_file_replaces_nothing_even_what_comes_at_the_last_moment(tmp_path):
    file = tmp_path / "file"
    with pytest.raises(OutputError, match="exists"), new_file(file) as new:
        new.write_text("1")
        file.write_text("a photo")
    with pytest.raises(OutputError, match="exists already"), new_file(file):
        pass
    assert file.read_text() == "a photo"
    with new_file(tmp_path / "other") as new:
        new.write_text("2")
        assert entries(tmp_path)[-1] == "file"  # nothing under its name yet
    assert (tmp_path / "other").read_text() == "2"
    assert entries(tmp_path) == ["file", "other"]
