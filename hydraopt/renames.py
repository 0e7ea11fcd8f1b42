"""Renames that lose nothing: a name is never taken from another, two names change at once."""

import ctypes
import errno
import os
import shutil
import sys
from pathlib import Path

NO_REPLACE, EXCHANGE = 1, 2  # flags of Linux's renameat2
AT_FDCWD = -100
UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


def rename_new(source: Path, target: Path) -> None:
    """Rename a directory to a name that nobody has, whoever else tries the same.

    Raises:
        FileExistsError: something has the name.
    """
    if _renameat2(source, target, NO_REPLACE):
        return
    target.mkdir()  # claims the name
    try:
        source.rename(target)  # replaces an empty directory
    except BaseException:
        target.rmdir()
        raise


def exchange(source: Path, target: Path) -> None:
    """Let two directories change names, at once where the system can.

    Elsewhere ``target`` is put aside first, where :func:`recover` finds it after a crash.
    """
    if _renameat2(source, target, EXCHANGE):
        return
    target.rename(_aside(target))
    try:
        source.rename(target)
    except BaseException:
        recover(target)
        raise
    try:
        _aside(target).rename(source)
    except BaseException:
        recover(target)
        raise


def recover(target: Path) -> None:
    """Bring back a directory that a crash left aside, unless there is a newer one."""
    aside = _aside(target)
    if aside.exists() and target.exists():
        shutil.rmtree(aside, ignore_errors=True)
    elif aside.exists():
        aside.rename(target)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.replaced")


def _renameat2(source: Path, target: Path, flags: int) -> bool:
    """Whether the system has it; what else fails is an ``OSError``."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return False
    sys.audit("os.rename", os.fspath(source), os.fspath(target), -1, -1)
    if function(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), flags) == 0:
        return True
    number = ctypes.get_errno()
    if number in UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), os.fspath(target))
