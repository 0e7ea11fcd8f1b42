"""Updates of a bundle, keys made with openssl, and what is no update."""

import json
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from hydraopt.bundles import add_task
from hydraopt.documents import sealed
from hydraopt.formats.update import DOCUMENT, PACK


def openssl(*arguments) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def write_keys(directory: Path) -> Path:
    """Write two pairs of keys, and one of another kind."""
    directory.mkdir()
    for name, kind in (("mine", "ed25519"), ("other", "ed25519"), ("curve", "x25519")):
        key = directory / f"{name}.pem"
        openssl("genpkey", "-algorithm", kind, "-out", key)
        openssl("pkey", "-in", key, "-pubout", "-out", directory / f"{name}.pub")
    return directory


def write_updates(bundle: Path, adapters: list[Path], key: Path, root: Path) -> Path:
    """Write updates of a bundle: ``later`` and its version 2, signed, and ``other``, unsigned.

    Beside them are copies of the bundle in which the tasks were added.
    """
    for name in ("first", "second"):
        shutil.copytree(bundle, root / name)
    one, two, three = map(str, adapters)
    add_task(root / "first", two, "later", delta=root / "later.zip", sign=key)
    shutil.copytree(root / "first", root / "with-later")
    add_task(root / "first", three, "later", version=2, delta=root / "later-2.zip", sign=key)
    add_task(root / "second", one, "other", delta=root / "other.zip")
    return root


def entries(update: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(update) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(target: Path, content, compression=zipfile.ZIP_STORED) -> Path:
    """Write a zip file of ``(name, content)``, also with equal names."""
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, entry in content:
            archive.writestr(name, entry)
    return target


def rewritten(source: Path, target: Path, **changes) -> Path:
    """Write an update whose document says something else; its digest is right."""
    content = entries(source)
    fields = json.loads(content[DOCUMENT])
    del fields["digest"]
    content[DOCUMENT] = sealed({**fields, **changes})
    return zipped(target, content.items())


def write_for_phones(bundle: Path, adapters: list[Path], root: Path) -> None:
    """Write ``updates`` and ``keys``, for tests of the Android library."""
    keys = write_keys(root / "keys")
    updates = write_updates(bundle, adapters, keys / "mine.pem", root / "updates")
    rewritten(updates / "later.zip", updates / "changed.zip", version=9)
    write_refused(updates / "later.zip", updates)


def write_refused(source: Path, root: Path) -> None:
    """Write every update that is refused, and what is said of it."""
    (root / "refused").mkdir()
    records = []
    for number, (path, message) in enumerate(chain(foreign(source, root), hostile(source, root))):
        name = f"{number}.zip"
        if path.is_dir():
            (root / "refused" / name).mkdir()
        elif path.exists():
            path.rename(root / "refused" / name)
        records.append({"file": name, "message": message})
    (root / "refused.json").write_text(json.dumps(records))


def foreign(source: Path, directory: Path) -> Iterator[tuple[Path, str]]:
    """Write updates that do not belong to the bundle; what is said of them."""
    wrong_pack = {"bytes": 1, "sha256": "0" * 64}
    for number, (changes, message) in enumerate(
        [
            ({"program": "0" * 64}, "is for another bundle: its program is 000000000000…, that of"),
            ({"binding": "0" * 32}, "is of another layout: it is bound to 000000000000…"),
            ({"classes": 2}, "is damaged: its classes do not fit"),
            ({"task": "Alpha"}, "has a task 'Alpha' already; remove it or choose another name"),
            ({"task": "alpha"}, "has another task 'alpha' of version 1; make the update with a gr"),
            ({"task": "../x"}, "update.json is damaged"),
            ({"version": 0}, "update.json is damaged"),
            ({"version": 2**31}, "update.json is damaged"),
            ({"surprise": 1}, "update.json is damaged"),
            ({"adapter_bytes": 0}, "update.json is damaged"),
            ({"format_version": 2}, "update.json has format version 2, expected 1; update hydra"),
            ({"pack": wrong_pack}, "task.pack is damaged: its SHA-256 or size differs; download"),
        ]
    ):
        yield rewritten(source, directory / f"foreign-{number}.zip", **changes), message


def hostile(source: Path, directory: Path) -> Iterator[tuple[Path, str]]:
    """Write damaged and malicious files; what is said of them."""
    content, good = source.read_bytes(), entries(source)
    damaged, expected = "is damaged or half downloaded", "expected update.json, task.pack and"
    target = directory / "hostile.zip"
    for size in (0, 10, len(content) // 2, len(content) - 1):
        target.write_bytes(content[:size])
        yield target, damaged
    for name in ("../outside", "/etc/passwd", "packs/later.pack", "manifest.json"):
        yield zipped(target, {**good, name: b"x"}.items()), expected
    for count in (0, 2, 3000):
        yield zipped(target, [(f"{DOCUMENT}{i}", b"") for i in range(count)]), damaged
    yield zipped(target, [*good.items(), (PACK, good[PACK])]), damaged
    bomb = {**good, DOCUMENT: b" " * (64 << 20)}.items()
    yield zipped(target, bomb, zipfile.ZIP_DEFLATED), damaged
    target.write_bytes(content.replace(len(good[PACK]).to_bytes(4, "little"), b"\xff" * 4))
    yield target, damaged
    with target.open("wb") as file:
        file.truncate(1 << 40)
    yield target, "is no update of this bundle"
    yield directory / "nowhere.zip", "is no update of this bundle"
    yield directory, "is no update of this bundle"
