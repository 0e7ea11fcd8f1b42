"""Outputs that the library writes and owns, and what is in a directory."""

import os
from unittest import mock

import pytest

from hydraopt.files import LIST, output_directory

KIND = "kind"


@pytest.fixture(params=["renameat2", "portable"])
def system(request):
    """With and without Linux's rename that exchanges two names."""
    if request.param == "portable":
        with mock.patch("hydraopt.files.renames._renameat2", return_value=False):
            yield
    else:
        yield


@pytest.fixture
def out(tmp_path):
    """An output of ours."""
    write(tmp_path / "out", old="1")
    return tmp_path / "out"


def entries(directory):
    """Names in a directory, but for the list that every output has."""
    return sorted({path.name for path in directory.iterdir()} - {LIST})


def write(path, overwrite=False, **files):
    with output_directory(path, KIND, overwrite=overwrite) as new:
        for name, text in files.items():
            (new / name).write_text(text)


def listing(directory):
    """Everything below a directory, byte for byte."""
    found = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.is_file() and path.read_bytes()
        found[path.relative_to(directory).as_posix()] = (status.st_mode, status.st_ino, content)
    return found


def contents(directory):
    """Files below a directory, by path."""
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
