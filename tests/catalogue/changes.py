"""What can be wrong with a file: its content, its fields, or that it is none."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

from sealed_files import reseal

from .case import Change

DEEP = 100_000

NO_DOCUMENTS = {  # contents that no JSON file of ours may have
    "empty": b"",
    "half an object": b'{"a": 1',
    "a list": b"[]",
    "null": b"null",
    "a number": b"3",
    "a text": b'"x"',
    "an empty object": b"{}",
    "lists without end": b"[" * DEEP,
    "objects without end": b'{"a":' * DEEP,
    "lists, deep": b"[" * DEEP + b"]" * DEEP,
    "NaN": b'{"r": NaN, "format_version": NaN}',
    "infinity": b'{"r": 1e999, "format_version": 1e999}',
    "400 digits": b'{"r": ' + b"9" * 400 + b', "format_version": ' + b"9" * 400 + b"}",
    "5000 digits": b'{"r": ' + b"9" * 5000 + b"}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "Latin-1": b'{"a": "\xe9"}',
    "zeros": bytes(100),
    "half a pair": b'{"a": "\\ud800"}',
    "a comment": b"// {}\n{}",
    "a megabyte of text": b'"' + b"x" * (1 << 20) + b'"',
    "a key of a megabyte": b'{"' + b"x" * (1 << 20) + b'": 1}',
}
NO_DATA = {  # contents that no binary file of ours may have
    "empty": b"",
    "zeros": bytes(1000),
    "ones": b"\xff" * 1000,
    "text": b"hello\n" * 50,
    "JSON": b'{"a": 1}',
}


def write(path: str, data: bytes) -> Change:
    """Give a file another content."""
    return lambda world: (world / path).write_bytes(data)


def missing(path: str) -> Change:
    """Take a file away."""
    return lambda world: (world / path).unlink()


def _instead(make: Callable[[Path], object]) -> Callable[[str], Change]:
    def change(path: str) -> Change:
        return lambda world: ((world / path).unlink(), make(world / path))

    return change


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        there = os.open(path.parent, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{there}/{path.name}")  # a path has at most 107 bytes
        os.close(there)


NO_FILES = {  # things that are no regular file
    "missing": missing,
    "a directory": _instead(Path.mkdir),
    "a pipe": _instead(os.mkfifo),
    "a socket": _instead(_socket),
    "a link to /dev/zero": _instead(lambda path: path.symlink_to("/dev/zero")),
    "a link to itself": _instead(lambda path: path.symlink_to(path.name)),
    "a link to nothing": _instead(lambda path: path.symlink_to("nowhere")),
    "a link to its directory": _instead(lambda path: path.symlink_to(".")),
}


def cut(path: str, count: int) -> Change:
    """Take bytes from the end."""
    return lambda world: (world / path).write_bytes((world / path).read_bytes()[:-count])


def longer(path: str) -> Change:
    """Put bytes at the end."""
    return lambda world: (world / path).write_bytes((world / path).read_bytes() + bytes(8))


def flip(path: str, position: int) -> Change:
    """Flip a bit."""

    def change(world: Path) -> None:
        content = bytearray((world / path).read_bytes())
        content[position % len(content)] ^= 1
        (world / path).write_bytes(content)

    return change


def fields(path: str, **changed: object) -> Change:
    """Change fields of a JSON file without a digest."""

    def change(world: Path) -> None:
        content = json.loads((world / path).read_text())
        (world / path).write_text(json.dumps(content | changed))

    return change


def sealed_fields(path: str, **changed: object) -> Change:
    """Change fields of a JSON file; its digest fits again."""
    return lambda world: reseal(world / path, **changed)


def edited(path: str, edit: Callable[[dict], object]) -> Change:
    """Change a JSON file in place; what has a digest gets one that fits, beside it too."""

    def change(world: Path) -> None:
        content = json.loads((world / path).read_text())
        edit(content)
        (world / path).write_text(json.dumps(content, ensure_ascii=False))
        for name in ("adapters.json", "manifest.json"):
            if (world / path).with_name(name).exists():
                reseal((world / path).with_name(name))

    return change


def wrong_files(path: str, contents: dict[str, bytes]) -> dict[str, Change]:
    """A file with other contents, or that is none."""
    written = {name: write(path, data) for name, data in contents.items()}
    return written | {name: change(path) for name, change in NO_FILES.items()}
