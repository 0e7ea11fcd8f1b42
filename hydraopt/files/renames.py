"""Renames that never overwrite a directory, and atomic exchange of two names.

A place is a directory handle and a name in that directory.
"""

import ctypes
import errno
import os
import sys

NO_REPLACE, EXCHANGE = 1, 2  # flags of Linux's renameat2
UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)

Place = tuple[int, str]


def rename(source: Place, target: Place) -> None:
    """Rename; an existing file or empty directory at ``target`` is replaced."""
    os.rename(source[1], target[1], src_dir_fd=source[0], dst_dir_fd=target[0])


def rename_new(source: Place, target: Place) -> None:
    """Rename a directory to a free name, also if other processes try the same.

    Raises:
        FileExistsError: ``target`` exists.
    """
    if _renameat2(source, target, NO_REPLACE):
        return
    parent, name = target
    os.mkdir(name, dir_fd=parent)  # claims the name
    try:
        rename(source, target)  # replaces an empty directory
    except BaseException:
        os.rmdir(name, dir_fd=parent)
        raise


def exchange(source: Place, target: Place) -> bool:
    """Exchange two names atomically; return False if the system cannot."""
    return _renameat2(source, target, EXCHANGE)


def _renameat2(source: Place, target: Place, flags: int) -> bool:
    """Call ``renameat2``; return False if the system lacks it, raise ``OSError`` otherwise."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return False
    sys.audit("os.rename", source[1], target[1], source[0], target[0])
    if function(source[0], os.fsencode(source[1]), target[0], os.fsencode(target[1]), flags) == 0:
        return True
    number = ctypes.get_errno()
    if number in UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), target[1])
