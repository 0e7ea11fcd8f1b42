"""The user's cache: what is built or downloaded once, and locked while that happens."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from ..errors import OutputError
from ..files import output_directory, remove_output

COMPLETE = ".complete"
CACHED = "cache"
UNUSED_DAYS = 7


def cache_directory() -> Path:
    """``$XDG_CACHE_HOME/hydraopt``, by default ``~/.cache/hydraopt``."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "hydraopt"


def cached(name: str, build: Callable[[Path], object]) -> Path:
    """Directory ``name`` of the cache; ``build`` fills it the first time.

    Put everything that the content depends on into ``name``. A second process waits for the first.

    Raises:
        OutputError: the cache cannot be written.
    """
    directory = cache_directory() / name
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _in_use(directory):
        if not (directory / COMPLETE).exists():
            with output_directory(directory, CACHED, overwrite=True) as staging:
                build(staging)
                (staging / COMPLETE).touch()
        os.utime(directory / COMPLETE)  # it is in use
    return directory


def drop_unused(group: str) -> None:
    """Remove the directories ``group/*`` of the cache that nobody asked for in a week."""
    oldest = time.time() - 86400 * UNUSED_DAYS
    for mark in (cache_directory() / group).glob(f"*/{COMPLETE}"):
        with _in_use(mark.parent):
            if mark.exists() and mark.stat().st_mtime < oldest:
                with suppress(OutputError):  # what we did not write there stays
                    remove_output(mark.parent, CACHED)


def _in_use(directory: Path) -> FileLock:
    """Keep other processes from building or removing a directory of the cache."""
    return FileLock(directory.with_name(f".{directory.name}.lock"))
