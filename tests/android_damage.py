"""Damaged bundles for the JVM tests of ``android_demo/host``, and what is said of them."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from hydraopt.documents import DIGEST, NO_DIGEST, sealed
from hydraopt.errors import HydraOptError
from hydraopt.runtime import Session

Change = Callable[[Path], object]
CHAT = {"prefix": "x", "suffix": "y", "strip": False, "arguments": {}}  # without conversation
BETWEEN = {"system": None, "answer": "a", "message": "m", "stripped": [], "thoughts": None}


def _sealed(change: Callable[[dict], object]) -> Change:
    """A change of the manifest's fields, with a digest that fits."""

    def changed(bundle: Path) -> None:
        path = bundle / "manifest.json"
        fields = json.loads(path.read_text())
        del fields["digest"]
        change(fields)
        path.write_bytes(sealed(fields))

    return changed


def _manifest(**changes: object) -> Change:
    return _sealed(lambda fields: fields.update(changes))


def _without(name: str) -> Change:
    return _sealed(lambda fields: fields.pop(name))


def _pack(**changes: object) -> Change:
    return _sealed(lambda fields: fields["swap"]["packs"]["beta"].update(changes))


def _packs(**changes: object) -> Change:
    def change(fields: dict) -> None:
        for pack in fields["swap"]["packs"].values():
            pack.update(changes)

    return _sealed(change)


def _part(part: str, name: str, *value: object) -> Change:
    """A field of ``model`` or ``swap`` with another value; without one it is left out."""

    def change(fields: dict) -> None:
        fields[part].pop(name, None)
        if value:
            fields[part][name] = value[0]

    return _sealed(change)


def _inserted(content: bytes) -> Change:
    """More bytes at the start of the base's name, with a digest that fits."""

    def changed(bundle: Path) -> None:
        path = bundle / "manifest.json"
        name = b'"base_model": "'
        blank = DIGEST.sub(b'"digest": "%s"' % NO_DIGEST, path.read_bytes())
        assert name in blank
        blank = blank.replace(name, name + content)
        digest = hashlib.sha256(blank).hexdigest().encode()
        path.write_bytes(blank.replace(NO_DIGEST, digest, 1))

    return changed


def _renamed(*names: str) -> Change:
    """Other names for the tasks."""

    def change(fields: dict) -> None:
        packs = fields["swap"]["packs"].values()
        fields["swap"]["packs"] = dict(zip(names, packs, strict=True))

    return _sealed(change)


def _text(old: str, new: str) -> Change:
    def changed(bundle: Path) -> None:
        path = bundle / "manifest.json"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return changed


def _flip(name: str, position: int) -> Change:
    def change(bundle: Path) -> None:
        content = bytearray((bundle / name).read_bytes())
        content[position] ^= 1
        (bundle / name).write_bytes(bytes(content))

    return change


def _cut(name: str, by: int) -> Change:
    return lambda bundle: (bundle / name).write_bytes((bundle / name).read_bytes()[:-by])


def _write(name: str, content: str) -> Change:
    return lambda bundle: (bundle / name).write_text(content)


def _gone(name: str) -> Change:
    return lambda bundle: (bundle / name).unlink()


def _foreign(other: Path, name: str) -> Change:
    return lambda bundle: shutil.copyfile(other / name, bundle / name)


FILES = ("model.pte", "shared.pack", "tokenizer.json")
PACK = "packs/beta.pack"


def damages(other: Path) -> Iterator[tuple[str, Change, str]]:
    """``(name, change, what Python and Kotlin both say)``; ``other`` is another bundle."""
    for name in FILES:
        for position in (100, -5):
            yield f"flip{position}", _flip(name, position), f"{name} is damaged or from another di"
        yield "cut", _cut(name, 1), f"{name} is damaged or from another directory"
        yield "gone", _gone(name), f"{name} is missing; export or copy it again"
    for position in (3, 20, 50, 100, -5):
        yield "pack", _flip(PACK, position), f"{PACK} is damaged or from another bundle: its SHA-2"
    yield "pack-cut", _cut(PACK, 1), f"{PACK} is damaged: it ends after"
    yield "pack-gone", _gone(PACK), f"{PACK} cannot be read"
    yield "pack-foreign", _foreign(other, PACK), f"{PACK} is damaged or from another bundle"
    yield "pack-offset", _pack(offset=64), f"{PACK} is damaged: it ends after"
    yield "pack-length", _pack(length=100), "manifest.json is damaged"
    for file in ("../outside.pack", "/etc/passwd", "packs/../../x", ".hidden", "a//b", ""):
        yield "pack-outside", _pack(file=file), "manifest.json is damaged"
    yield "pack-far", _packs(offset=2**40), "is damaged: it ends after"
    yield "pack-long", _packs(length=3 * 10**9), "is damaged: it ends after"
    for changes in (
        {"offset": -1},
        {"offset": 2**63 - 1},
        {"offset": 2**70},
        {"length": 0},
        {"sha256": "00"},
        {"sha256": None},
    ):
        yield "pack-record", _pack(**changes), "manifest.json is damaged"
    yield "no-manifest", _gone("manifest.json"), "manifest.json is missing; expected a directory"
    yield "half", _cut("manifest.json", 40), "manifest.json is damaged"
    for content in ("[1]", "manifest", "", "[" * 1000, '{"format_version": NaN}'):
        yield "content", _write("manifest.json", content), "manifest.json is damaged"
    yield "newer", _manifest(format_version=9), "format version 9, expected 8; update hydraopt"
    yield "older", _manifest(format_version=4), "expected 8; write it again with `hydraopt export`"
    yield (
        "digest",
        _text('"eos_ids": [\n      257', '"eos_ids": [\n      256'),
        "its digest differs",
    )
    yield "name", _text('"alpha"', '"omega"'), "its digest differs"
    yield "space", _text("{", "{ "), "its digest differs"
    for content in (b"\\ud800", "\\u００４１".encode(), b"\xed\xa0\x80", b"\xff"):
        yield "not-text", _inserted(content), "manifest.json is damaged"
    for name in ("𝒜" * 101, "🙂", "a\u0301", "", ".a", "a\n"):
        yield "task-name", _renamed(name, "beta", "gamma"), "manifest.json is damaged"
    for name in ("model", "files", "swap", "executorch"):
        yield f"no-{name}", _without(name), "manifest.json is damaged"
    for part, name in (
        *(("model", "kind"), ("model", "eos_ids"), ("model", "vocabulary"), ("model", "attention")),
        *(("swap", "mode"), ("swap", "factors"), ("swap", "binding"), ("swap", "growth")),
    ):
        yield f"no-{name}", _part(part, name), "manifest.json is damaged"
    for name, value in (
        *(("files", None), ("files", {}), ("surprise", 1), ("classes", {"alpha": 2})),
        *(("model", None), ("model", {}), ("model", {"kind": "image"}), ("swap", "inputs")),
    ):
        yield f"field-{name}", _manifest(**{name: value}), "manifest.json is damaged"
    for part, name, value in (
        *(("swap", "packs", {}), ("swap", "packs", None), ("swap", "packs", {"../x": {}})),
        *(("swap", "mode", "x"), ("swap", "mode", "methods"), ("swap", "factors", [1])),
        *(("swap", "static_rows", 1), ("swap", "methods", {"alpha": "forward"})),
        *(("model", "kind", "x"), ("model", "kind", "encoder"), ("model", "pooling", None)),
        *(("model", "max_length", "32"), ("model", "max_length", None)),
        *(("model", "prefill_length", 0), ("model", "prefill_length", 32)),
        *(("model", "vocabulary", 10**400), ("model", "vocabulary", 1.5)),
        *(("model", "eos_ids", [1.5]), ("model", "chat", {"prefix": "x"})),
        ("model", "chat", {"prefix": "x", "suffix": 1, "strip": False}),
        ("model", "chat", CHAT),
        ("model", "chat", CHAT | {"conversation": 1}),
        ("model", "chat", CHAT | {"conversation": BETWEEN | {"message": None}}),
        ("model", "chat", CHAT | {"conversation": BETWEEN | {"system": ["x"]}}),
        ("model", "chat", CHAT | {"conversation": BETWEEN | {"thoughts": [1, 2]}}),
        ("model", "chat", CHAT | {"conversation": BETWEEN | {"stripped": ["user"]}}),
    ):
        yield f"field-{name}", _part(part, name, value), "manifest.json is damaged"


# letters and numbers, outside of Unicode's first plane, too
NAMES = ("𝒜" * 100, "_𠀀.5+b-c", "𝟘½Ⅷ")


def write_renamed(bundle: Path, directory: Path) -> None:
    """Write a copy of ``bundle`` whose tasks are :data:`NAMES`; Python switches to them."""
    copy = directory / "renamed"
    shutil.copytree(bundle, copy)
    _renamed(*NAMES)(copy)
    session = Session.open(copy)
    assert session.tasks == NAMES
    for name in NAMES:
        session.switch(name)
    (directory / "renamed.json").write_text(json.dumps([{"name": name} for name in NAMES]))


def write_damaged(bundle: Path, other: Path, directory: Path) -> None:
    """Write every damaged copy of ``bundle``, and what is said of it; Python says so, too."""
    records = []
    for number, (name, change, message) in enumerate(damages(other)):
        copy = directory / f"{number}-{name}"
        shutil.copytree(bundle, copy)
        change(copy)
        assert message in _refusal(copy), copy
        records.append({"bundle": copy.name, "message": message})
    (directory / "damaged.json").write_text(json.dumps(records))


def _refusal(bundle: Path) -> str:
    try:
        Session.open(bundle)
    except HydraOptError as error:
        return str(error)
    raise AssertionError(f"{bundle} is not refused")
