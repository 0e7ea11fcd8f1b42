"""The user's cache of downloads and builds, locked while they are made."""

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
    """Return ``$XDG_CACHE_HOME/hydraopt``, by default ``~/.cache/hydraopt``."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "hydraopt"


def cached(name: str, build: Callable[[Path], object]) -> Path:
    """Return directory ``name`` of the cache, which ``build`` fills the first time.

    ``name`` must identify everything that the content depends on. Processes that build the same
    directory wait for each other.

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
        os.utime(directory / COMPLETE)  # marks it as used
    return directory


def drop_unused(group: str) -> None:
    """Remove the directories ``group/*`` of the cache that were not used for a week."""
    oldest = time.time() - 86400 * UNUSED_DAYS
    for mark in (cache_directory() / group).glob(f"*/{COMPLETE}"):
        with _in_use(mark.parent):
            if mark.exists() and mark.stat().st_mtime < oldest:
                with suppress(OutputError):  # it holds files that are not ours
                    remove_output(mark.parent, CACHED)


def _in_use(directory: Path) -> FileLock:
    """Lock a directory of the cache against other processes."""
    return FileLock(directory.with_name(f".{directory.name}.lock"))
