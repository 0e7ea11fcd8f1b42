"""Outputs are written whole or not at all."""

import pytest

from hydraopt.errors import OutputError
from hydraopt.files import output_directory, remove_unfinished, replaced_file


def entries(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_finished_output_appears_under_its_name_only(tmp_path):
    with output_directory(tmp_path / "deep" / "out", "old") as staging:
        (staging / "file").write_text("x")
        assert not (tmp_path / "deep" / "out").exists()
    assert entries(tmp_path / "deep") == ["out"]
    assert entries(tmp_path / "deep" / "out") == ["file"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_or_interrupt_leaves_nothing(tmp_path, failure):
    with pytest.raises(failure), output_directory(tmp_path / "out", "old") as staging:
        (staging / "file").write_text("x")
        raise failure
    assert entries(tmp_path) == []


def test_a_full_disk_is_one_clear_error(tmp_path):
    with pytest.raises(OutputError, match=r"cannot write .*out: No space left on device"):
        with output_directory(tmp_path / "out", "old"):
            with open("/dev/full", "w") as full:
                full.write("x")
    assert entries(tmp_path) == []


def test_an_existing_output_is_kept_until_the_new_one_is_whole(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    with pytest.raises(OutputError, match="exists already; choose another or pass --overwrite"):
        with output_directory(tmp_path / "out", "old"):
            pass
    with pytest.raises(ValueError, match="half-way"):
        with output_directory(tmp_path / "out", "old", overwrite=True):
            raise ValueError("half-way")
    assert entries(tmp_path / "out") == ["old"]
    with output_directory(tmp_path / "out", "old", overwrite=True) as staging:
        (staging / "new").write_text("new")
    assert entries(tmp_path / "out") == ["new"]
    assert entries(tmp_path) == ["out"]


def test_a_file_in_the_way_is_not_replaced(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="is a file, expected a directory"):
        with output_directory(tmp_path / "out", "old", overwrite=True):
            pass
    assert (tmp_path / "out").read_text() == "mine"


def test_only_what_a_command_wrote_itself_is_overwritten(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat").write_text("cat")
    with pytest.raises(OutputError, match="holds other files and no old"):
        with output_directory(tmp_path / "photos", "old", overwrite=True):
            pass
    assert entries(tmp_path / "photos") == ["cat"]


def test_a_link_is_followed_and_the_current_directory_is_kept(tmp_path, monkeypatch):
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to("target")
    with output_directory(tmp_path / "link", "old", overwrite=True) as staging:
        (staging / "new").write_text("new")
    assert entries(tmp_path / "target") == ["new"]
    assert entries(tmp_path) == ["link", "target"]
    monkeypatch.chdir(tmp_path / "target")
    for path in (".", ".."):
        with pytest.raises(OutputError, match="holds the current directory"):
            with output_directory(path, "new", overwrite=True):
                pass
    assert entries(tmp_path) == ["link", "target"]


def test_the_old_output_comes_back_if_the_last_rename_fails(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    with pytest.raises(OutputError, match="cannot write"):
        with output_directory(tmp_path / "out", "old", overwrite=True) as staging:
            staging.rmdir()
    assert entries(tmp_path / "out") == ["old"]
    assert entries(tmp_path) == ["out"]


def test_what_an_aborted_handler_leaves_is_removed_at_once(tmp_path):
    """Files and directories that have not their name yet, before any exception is raised."""
    with pytest.raises(OutputError), replaced_file(tmp_path / "file") as file:
        with output_directory(tmp_path / "out", "old") as staging:
            file.write_text("x")
            (staging / "half").write_text("x")
            remove_unfinished()
            assert entries(tmp_path) == []
    assert entries(tmp_path) == []
