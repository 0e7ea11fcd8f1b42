"""``reader.hpp`` reads packs as Python does: whole files, parts of one, damage in words."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

import hydraopt.profiling
from hydraopt.formats.pack import HEADER, MAGIC, pack, write_single

pytestmark = pytest.mark.slow

BINDING = bytes(range(16))
READER = """
#include <cstdio>
#include <cstdlib>
#include "reader.hpp"

int main(int count, char** arguments) try {
  bool part = count == 4;
  hydraopt::Pack pack(arguments[1], part ? strtoull(arguments[2], nullptr, 10) : 0,
                      part ? strtoull(arguments[3], nullptr, 10) : 0);
  for (unsigned char byte : pack.binding()) printf("%02x", byte);
  for (size_t i = 0; i < pack.size(); i++) printf(" %d", pack.payload()[i]);
} catch (const std::runtime_error& error) {
  fprintf(stderr, "%s", error.what());
  return 1;
}
"""


@pytest.fixture(scope="module")
def read(compiler, tmp_path_factory):
    """Binding and payload as a C++ program reads them, or its message."""
    directory = tmp_path_factory.mktemp("reader")
    (directory / "read.cpp").write_text(READER)
    headers = Path(hydraopt.profiling.__file__).parent
    command = ["g++", "-std=c++17", "-Wall", "-Werror", f"-I{headers}", "read.cpp", "-o", "read"]
    subprocess.run(command, cwd=directory, check=True)

    def call(path, *place):
        arguments = [directory / "read", path, *map(str, place)]
        ran = subprocess.run(arguments, check=False, capture_output=True, text=True, timeout=60)
        if ran.returncode:
            return ran.stderr
        binding, *payload = ran.stdout.split()
        return bytes.fromhex(binding), [int(value) for value in payload]

    return call


def packs(*sizes):
    return {str(n): pack(np.arange(n, dtype=np.uint8), BINDING) for n in sizes}


@pytest.mark.parametrize("size", [0, 1, 200])
def test_a_whole_file(read, tmp_path, size):
    (tmp_path / "x.pack").write_bytes(packs(size)[str(size)])
    assert read(tmp_path / "x.pack") == (BINDING, list(range(size)))


def test_each_pack_of_one_file(read, tmp_path):
    for name, place in write_single(tmp_path, packs(30, 1, 200)).items():
        found = read(tmp_path / place.file, place.offset, place.length)
        assert found == (BINDING, list(range(int(name))))


def damaged():
    """(what, content of a file, place in it, message)."""
    whole = packs(30)["30"]
    yield "nothing", b"", (), "is not a pack: expected one that starts with HYDRAPK1"
    yield "short", whole[:50], (), "is not a pack"
    yield "foreign", b"X" + whole[1:], (), "is not a pack"
    yield "cut", whole[:-1], (), "holds 29 payload bytes, its header says 30; copy it again"
    yield "longer", whole + b"x", (), "holds 31 payload bytes, its header says 30"
    huge = HEADER.pack(MAGIC, 2**64 - 1, BINDING, bytes(32)) + whole[HEADER.size :]
    yield "size", huge, (), "its header says 18446744073709551615"
    yield "offset", whole, (200, 94), "ends after 94 bytes, expected 294; copy it again"
    yield "length", whole, (0, 95), "ends after 94 bytes, expected 95"
    yield "overflow", whole, (64, 2**64 - 32), "ends after 94 bytes"
    yield "inside", whole, (1, 93), "is not a pack"


def test_damage_is_refused_in_words(read, tmp_path):
    for what, content, place, message in damaged():
        (tmp_path / what).write_bytes(content)
        found = read(tmp_path / what, *place)
        assert message in found, what
        assert "\n" not in found, what


def test_what_is_no_regular_file_is_refused(read, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        assert "is not a regular file" in read(path)
    assert "cannot open" in read(tmp_path / "none")
