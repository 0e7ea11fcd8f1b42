"""What users keep beside and inside of outputs: random files, with names like ours among them."""

import os
import random
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from hydraopt.files import LIST

TOKEN = "0123456789abcdef"
NAMES = (  # inside of an output
    *("photo.png", "notes.txt", "README", ".netrc", ".DS_Store", "packs.pack", "model (1).pte"),
    *(".git/HEAD", ".git/objects/pack/pack-1.pack", ".git/objects/pack/pack-1.idx"),
    *("assets/textures.pack", "photos/phone.png", "old/model.safetensors", "ünï/cødé \udcff"),
    *("packs/.svn/entries", "packs/mine.pack", "packs/later.pack", "packs/old/v1.pack"),
    *("points/mine.json", "data/mine.ptd", "checkpoint-100/optimizer.pt", "merged/mine"),
    *(".manifest.json.deadbeef", f".{LIST}.{TOKEN}", f".{LIST}.{TOKEN[::-1]}/new/0"),
    *(f"inner/{LIST}", ".complete/x", "bundle/packs/mine.pack"),
)
BESIDE = (
    *("out.txt", ".out", ".out.deadbeef", f".out.{TOKEN}", f".out.{TOKEN[::-1]}/new/file"),
    *(".out.replaced/file", ".out.replaced.json", "out2/manifest.json", f"out.{TOKEN}/old/file"),
    *("..out.0a1b2c3d.checkpoint", ".out.0a1b2c3d.checkpoint", f".out.checkpoint/{LIST}"),
)

Seen = Mapping[Path, object]


def scatter(chance: random.Random, directory: Path, names: tuple[str, ...], count: int) -> Seen:
    """Put ``count`` things of a user into a directory; what is to be there afterwards."""
    made = set()
    for name in chance.sample(names, count):
        path = directory / name
        parents = [x for x in path.parents if directory in x.parents]
        if os.path.lexists(path) or any(x.is_symlink() or x.is_file() for x in parents):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        chance.choice(MAKERS)(chance, path, directory)
        made |= {path, *parents, *([] if path.is_symlink() else path.rglob("*"))}
    return {path: content(path) for path in made}


def edit(chance: random.Random, directory: Path) -> Seen:
    """Change one of our files; it is the user's then."""
    files = [x for x in sorted(directory.rglob("*")) if x.is_file() and not x.is_symlink()]
    path = chance.choice(files)
    path.write_bytes(path.read_bytes() + b"\n")
    return {path: content(path)}


def content(path: Path) -> object:
    """Of a file, or where a link leads."""
    if path.is_symlink():
        return "link", os.readlink(path)
    return path.read_bytes() if path.is_file() else "directory" if path.is_dir() else "nothing"


def lost(seen: Seen) -> list[Path]:
    """What is not there any more as it was."""
    return [path for path, found in seen.items() if content(path) != found]


def _file(chance: random.Random, path: Path, _: Path) -> None:
    path.write_bytes(chance.randbytes(chance.randrange(100)))


def _empty_directory(_: random.Random, path: Path, __: Path) -> None:
    path.mkdir()


def _link(chance: random.Random, path: Path, directory: Path) -> None:
    targets = [*directory.iterdir(), directory, directory.parent, Path("nowhere")]
    path.symlink_to(chance.choice(sorted(targets)))


def _copy_of_an_output(_: random.Random, path: Path, directory: Path) -> None:
    """As a user keeps an older one."""
    ours = [x for x in sorted(directory.iterdir()) if x.is_file() and not x.is_symlink()]
    path.mkdir()
    for file in ours:
        shutil.copy(file, path)


MAKERS = (_file, _file, _file, _empty_directory, _link, _copy_of_an_output)


def seeds(count: int) -> Iterator[random.Random]:
    """Sources of chance, the same in every run."""
    return map(random.Random, range(count))
