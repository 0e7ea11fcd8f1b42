"""Bundles for the JVM tests of ``android_demo/host``: what Python answers, and damaged ones."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from hydraopt.errors import HydraOptError
from hydraopt.runtime import Sampling, Session
from hydraopt.runtime.sampling import probabilities

Change = Callable[[Path], object]


def write_answers(bundle: Path, asked: Sequence[tuple[str, str, bool]], path: Path) -> None:
    """Record what Python's session answers to ``(task, prompt, chat)``."""
    session = Session.open(bundle)
    records = []
    for task, prompt, chat in asked:
        session.switch(task)
        prompt_ids = session.encode(prompt, chat=chat)
        ids = list(session.generate_ids(prompt_ids))
        session.reset()
        logits = session.forward(prompt_ids).tolist()
        records.append(
            {
                "task": task,
                "prompt": prompt,
                "chat": chat,
                "prompt_ids": prompt_ids,
                "ids": ids,
                "text": session.decode(ids),
                "logits": logits,
            }
        )
    path.write_text(json.dumps(records))


def write_probabilities(path: Path) -> None:
    """Record what tokens are drawn from, for logits with and without ties."""
    generator = torch.Generator().manual_seed(0)
    records = []
    for ties in (False, True):
        for temperature in (0.3, 1.0, 2.5):
            for top_k in (None, 1, 7, 500):
                for top_p in (1.0, 0.9, 0.5, 0.01):
                    logits = 3 * torch.randn(300, generator=generator)
                    logits = logits.round() if ties else logits
                    sampling = Sampling(temperature, top_p, top_k)
                    records.append(
                        {
                            "logits": logits.tolist(),
                            "temperature": temperature,
                            "top_k": top_k,
                            "top_p": top_p,
                            "probabilities": probabilities(logits, sampling).tolist(),
                        }
                    )
    path.write_text(json.dumps(records))


def _manifest(**changes: object) -> Change:
    def change(bundle: Path) -> None:
        path = bundle / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def _without(name: str) -> Change:
    def change(bundle: Path) -> None:
        path = bundle / "manifest.json"
        fields = json.loads(path.read_text())
        del fields[name]
        path.write_text(json.dumps(fields))

    return change


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


def damages(other: Path) -> Iterator[tuple[str, Change, str]]:
    """``(name, change, what Python and Kotlin both say)``; ``other`` is another bundle."""
    for name in ("model.pte", "packs/beta.pack", "shared.pack", "tokenizer.json", "layout.json"):
        for position in (100, -5):
            yield f"flip-{name}-{position}", _flip(name, position), f"{name} is damaged or from ano"
        yield f"cut-{name}", _cut(name, 1), f"{name} is damaged or from another bundle"
        yield f"gone-{name}", _gone(name), f"{name} is missing; export or copy the bundle again"
    yield "foreign-pack", _foreign(other, "packs/beta.pack"), "beta.pack is damaged or from another"
    yield "no-manifest", _gone("manifest.json"), "manifest.json is missing; expected a directory"
    yield "half-manifest", _cut("manifest.json", 40), "manifest.json is damaged"
    yield "list-manifest", _write("manifest.json", "[1]"), "manifest.json is damaged"
    yield "text-manifest", _write("manifest.json", "manifest"), "manifest.json is damaged"
    yield "newer", _manifest(format_version=9), "format version 9, expected 4; update hydraopt"
    yield "no-version", _without("format_version"), "manifest.json is damaged"
    yield "surprise", _manifest(surprise=1), "manifest.json is damaged"
    for name in ("kind", "factors", "files", "eos_ids", "swap", "executorch", "vocabulary"):
        yield f"no-{name}", _without(name), "manifest.json is damaged"
    for name, changes, message in (
        ("factors", {"factors": [1]}, "is damaged"),
        ("files-null", {"files": None}, "is damaged"),
        ("files-none", {"files": {}}, "do not fit"),
        ("tasks-none", {"tasks": {}}, "its tasks do not fit"),
        ("tasks-null", {"tasks": None}, "is damaged"),
        ("outside", {"tasks": {"alpha": "../outside.pack"}}, "its tasks do not fit"),
        ("swap", {"swap": "x"}, "its swap do not fit"),
        ("kind", {"kind": "x"}, "its kind do not fit"),
        ("length-text", {"max_length": "32"}, "is damaged"),
        ("prefill-none", {"prefill_length": 0}, "its numbers do not fit"),
        ("prefill-long", {"prefill_length": 32}, "its numbers do not fit"),
        ("chat-part", {"chat": {"prefix": "x"}}, "is damaged"),
        ("chat-kind", {"chat": {"prefix": "x", "suffix": 1, "strip": False}}, "is damaged"),
    ):
        yield f"manifest-{name}", _manifest(**changes), message


def write_damaged(bundle: Path, other: Path, directory: Path) -> None:
    """Write every damaged copy of ``bundle``, and what is said of it; Python says so, too."""
    records = []
    for name, change, message in damages(other):
        copy = directory / name.replace("/", "-")
        shutil.copytree(bundle, copy, copy_function=_link)
        for file in ("manifest.json", *_named(name)):
            _unlinked(copy / file)
        change(copy)
        assert message in _refusal(copy), name
        records.append({"bundle": copy.name, "message": message})
    (directory / "damaged.json").write_text(json.dumps(records))


def _link(source: str, target: str) -> None:
    os.link(source, target)


def _named(damage: str) -> list[str]:
    """The file that a damage changes, if its name tells one."""
    names = ("model.pte", "packs/beta.pack", "shared.pack", "tokenizer.json", "layout.json")
    return [*(x for x in names if x in damage), *["packs/beta.pack"] * (damage == "foreign-pack")]


def _unlinked(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def _refusal(bundle: Path) -> str:
    try:
        Session.open(bundle)
    except HydraOptError as error:
        return str(error)
    raise AssertionError(f"{bundle} is not refused")


def write_asked(bundles: Mapping[str, Path], directory: Path) -> None:
    """Copy bundles under their names."""
    for name, bundle in bundles.items():
        shutil.copytree(bundle, directory / name)
