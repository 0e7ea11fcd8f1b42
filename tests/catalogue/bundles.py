"""Wrong manifests, packs and programs."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from sealed_files import reseal

from hydraopt.formats.pack import Pack

from .case import Case, Change
from .changes import NO_DATA, NO_DOCUMENTS, cut, flip, longer, sealed_fields, wrong_files

MANIFEST = "bundle/manifest.json"
RUN = ("run", "bundle", "--task", "alpha", "--ids", "5", "--max-new-tokens", "1")
VALUES = (None, True, -1, 10**30, 0.5, "x", [], {}, [[]], ["x"], {"x": 1}, "x" * (1 << 20))
FIELDS = (  # but "files", whose records are made anew by whoever seals
    *("base_model", "base_config_sha256", "executorch", "method", "adapter_bytes", "quantize"),
    *("model", "swap", "classes", "deviation"),
)
PARTS = {
    "model": (
        *("kind", "vocabulary", "max_length", "prefill_length", "embedding", "attention"),
        *("eos_ids", "chat", "per_token", "pooling", "shape"),
    ),
    "swap": (
        "mode",
        "packs",
        "factors",
        "binding",
        "static_rows",
        "constant_bytes",
        "growth",
        "methods",
        "tasks",
    ),
}
LONGER = "8 bytes more"
OUTSIDE = ("../model.pte", "/etc/passwd", "packs/../model.pte", "", ".", "packs//a", "a\\b", "\0")


def manifests() -> Iterator[Case]:
    """``manifest.json``, damaged, and forged with a digest that fits."""
    for name, change in wrong_files(MANIFEST, NO_DOCUMENTS).items():
        for command in (("verify", "bundle"), ("remove", "bundle", "--task", "alpha")):
            yield Case(f"{name}, {command[0]}", command, change=change)
    for value in VALUES:
        for field in FIELDS:
            change = sealed_fields(MANIFEST, **{field: value})
            name = f"{field} {str(value)[:10]!r}"
            yield Case(name, ("info", "bundle"), change=change, may_pass=True)
        for part, field in ((part, field) for part, fields in PARTS.items() for field in fields):
            name = f"{part}.{field} {str(value)[:10]!r}"
            change = _part(part, **{field: value})
            yield Case(name, ("info", "bundle"), change=change, may_pass=True)
    for version in (0, 4, 99, "5", None, 10**400):
        change = _plain(format_version=version)
        yield Case(f"version {str(version)[:9]!r}", ("info", "bundle"), "manifest", change)
    for field in ("base_model", "model", "digest", "swap"):
        yield Case(f"no {field}", ("info", "bundle"), "manifest", _without(field))
    for position in range(0, 4000, 100):
        yield Case(f"bit in byte {position}", ("info", "bundle"), "", flip(MANIFEST, position))
    for file in OUTSIDE:
        for command in (("remove", "bundle", "--task", "alpha"), ("info", "bundle")):
            change = _pack(file=file)
            yield Case(f"a pack in {file!r}, {command[0]}", command, "manifest.json", change)
    yield Case("the program as a pack", RUN, "model.pte", _pack(file="model.pte"))
    for changes in ({"offset": 64}, {"sha256": "0" * 64}):
        yield Case(f"a pack with {changes}", RUN, "alpha.pack", _pack(**changes))
    for changes in (
        *({"offset": -1}, {"length": 0}, {"length": 100}, {"length": 1 << 50}),
        *({"length": 10**30}, {"sha256": "x"}),
    ):
        yield Case(f"a pack with {changes}", ("info", "bundle"), "manifest.json", _pack(**changes))


def _plain(**changes: object) -> Change:
    def change(world: Path) -> None:
        content = json.loads((world / MANIFEST).read_text())
        (world / MANIFEST).write_text(json.dumps(content | changes))

    return change


def _without(field: str) -> Change:
    def change(world: Path) -> None:
        content = json.loads((world / MANIFEST).read_text())
        del content[field]
        (world / MANIFEST).write_text(json.dumps(content))

    return change


def _part(part: str, **changes: object) -> Change:
    def change(world: Path) -> None:
        fields = json.loads((world / MANIFEST).read_text())[part]
        reseal(world / MANIFEST, **{part: fields | changes})

    return change


def _pack(**changes: object) -> Change:
    def change(world: Path) -> None:
        swap = json.loads((world / MANIFEST).read_text())["swap"]
        swap["packs"]["alpha"] |= changes
        reseal(world / MANIFEST, swap=swap)

    return change


def packs() -> Iterator[Case]:
    """Packs and all that a bundle's records are of: damaged, and with records that fit again."""
    for name in ("packs/alpha.pack", "shared.pack", "model.pte", "tokenizer.json"):
        path = f"bundle/{name}"
        wrong = wrong_files(path, NO_DATA)
        wrong |= {"1 byte less": cut(path, 1), LONGER: longer(path)}
        wrong |= {f"bit in byte {n}": flip(path, n) for n in (0, 9, 20, 40, 70)}
        for kind, change in wrong.items():
            fine = kind == LONGER and name.startswith("packs")  # a file may hold several packs
            yield Case(f"{name}: {kind}", RUN, name, change, fine)
    for name, edit in NO_PACKS.items():
        fine = name in ("another digest", "another payload")  # the manifest says that it is right
        for command in (RUN, ("verify", "bundle")):
            yield Case(f"forged: {name}, {command[0]}", command, "pack", _forged(edit), fine)
    for name in ("packs/alpha.pack", "shared.pack", "layout.json"):
        path = f"coded/{name}"
        wrong = wrong_files(path, NO_DATA)
        wrong |= {"1 byte less": cut(path, 1), LONGER: longer(path)}
        for kind, change in wrong.items():
            fine = kind == LONGER and name.startswith("packs")
            yield Case(f"coded/{name}: {kind}", ("info", "coded"), "", change, fine)
    for name, data in {**NO_DATA, "a pack": b"HYDRAPK1" + bytes(100)}.items():
        yield Case(f"forged tokenizer: {name}", RUN, "tokenizer.json", _record(name, data))


NO_PACKS = {
    "empty": lambda content: b"",
    "a header": lambda content: content[:64],
    "half a header": lambda content: content[:30],
    "another magic": lambda content: b"HYDRAPK9" + content[8:],
    "another size": lambda content: content[:8] + bytes(8) + content[16:],
    "the largest size": lambda content: content[:8] + b"\xff" * 8 + content[16:],
    "another binding": lambda content: content[:16] + bytes(16) + content[32:],
    "another digest": lambda content: content[:32] + bytes(32) + content[64:],
    "another payload": lambda content: content[:64] + bytes(len(content) - 64),
    "longer": lambda content: content + bytes(8),
    "shorter": lambda content: content[:-8],
    "text": lambda content: b"hello\n" * 50,
}


def _forged(edit: object) -> Change:
    """Another pack, of which the manifest says that it is right."""

    def change(world: Path) -> None:
        bundle = world / "bundle"
        swap = json.loads((bundle / "manifest.json").read_text())["swap"]
        places = swap["packs"]
        path = bundle / places["alpha"]["file"]
        path.write_bytes(edit(path.read_bytes()))
        places["alpha"] = asdict(Pack.of(bundle, places["alpha"]["file"]))
        reseal(bundle / "manifest.json", swap=swap)

    return change


def _record(_: str, data: bytes) -> Change:
    def change(world: Path) -> None:
        (world / "bundle" / "tokenizer.json").write_bytes(data)
        reseal(world / MANIFEST)

    return change
