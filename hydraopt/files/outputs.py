"""Directories that a command writes: whole or not at all, in the place of what we wrote only."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import OutputError
from .content import write_bytes
from .handles import opened
from .held import held
from .listing import LIST, Listing, remove_held
from .renames import Place, exchange, rename, rename_new
from .staging import NEW, OLD, Staging, settle_stale, staged


@contextmanager
def output_directory(
    path: str | Path, output_type: str, *, overwrite: bool = False
) -> Iterator[Path]:
    """Yield a temporary directory to write into; rename it to ``path`` at the end.

    Whatever ends the block early (an error, a full disk, an interrupt) leaves ``path`` as it was
    and removes the temporary directory.

    Args:
        path: directory to write. It gets a list of all files, by which it may be replaced later.
        output_type: what the directory is, such as ``bundle``; only one of this type, or an empty
            one, is ever replaced.
        overwrite: replace an existing ``path``, if all that is in it was written by us.

    Raises:
        OutputError: ``path`` exists and may not be replaced, or it cannot be written.
    """
    path = Path(path).resolve()
    check_output(path, output_type, overwrite=overwrite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with opened(path.parent) as parent, staged(path, parent) as staging:
            staging.new.mkdir()
            yield staging.new
            write_bytes(staging.new / LIST, Listing.of(staging.new, output_type).document)
            _publish(staging, output_type, overwrite=overwrite)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def check_output(path: Path, output_type: str, *, overwrite: bool) -> None:
    """Raise what :func:`output_directory` would before anything is computed."""
    path = path.resolve()
    if path == Path.cwd() or path in Path.cwd().parents:
        raise OutputError(f"output {path} holds the current directory; choose another output")
    if path.parent.is_dir():
        with opened(path.parent) as parent:
            settle_stale(path, parent)
    if path.exists():
        _check_replaceable(path, overwrite=overwrite)
        with held(path) as directory:
            directory.check_ours(output_type)


def remove_output(path: Path, output_type: str) -> None:
    """Remove a directory that :func:`output_directory` wrote.

    Raises:
        OutputError: it is of another type, or holds anything that we did not write.
    """
    with held(path) as directory:
        remove_held(directory.handle, directory.check_ours(output_type))
    with suppress(OSError):  # something came meanwhile
        path.rmdir()


def write_files(directory: Path, output_type: str, contents: Mapping[str, bytes]) -> None:
    """Write files into a directory in which others may lie; of these, ours are replaced.

    Args:
        directory: is there already.
        output_type: what the directory is, for its list.
        contents: path inside the directory -> content.

    Raises:
        OutputError: a file that is not ours has such a name, or it cannot be written.
        BundleError: the list of what is ours is damaged.
    """
    with held(directory) as there:
        there.change(there.listing() or Listing(output_type, {}), contents)


def check_files(directory: Path, output_type: str, names: Iterable[str]) -> None:
    """Raise what :func:`write_files` would; or if all in a directory is somebody else's."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise OutputError(f"output {directory} is a file, expected a directory; choose another")
    with held(directory) as there:
        listing = there.listing()
        if listing is None and any(directory.iterdir()):
            raise OutputError(
                f"output {directory} holds other files and no {LIST} of ours; choose another output"
            )
        if listing and listing.output_type != output_type:
            raise OutputError(
                f"output {directory} is a {listing.output_type}, expected a {output_type}; choose "
                "another output"
            )
        for name in names:
            there.check_free(name, listing or Listing(output_type, {}))


def _check_replaceable(path: Path, *, overwrite: bool) -> None:
    if not path.is_dir():
        raise OutputError(f"output {path} is a file, expected a directory; choose another output")
    if not overwrite:
        raise OutputError(
            f"output {path} exists already; choose another or overwrite it", options=["overwrite"]
        )


def _publish(staging: Staging, output_type: str, *, overwrite: bool) -> None:
    """Give what was written its name; what had it goes."""
    with opened(staging.name, staging.parent) as handle:
        try:
            return rename_new((handle, NEW), staging.place)
        except FileExistsError:  # it may have come while we worked
            _check_replaceable(staging.target, overwrite=overwrite)
        with held(staging.target) as directory:
            ours = directory.check_ours(output_type)
            _replace(handle, staging.place)
            try:
                ours.check_again(directory.handle, directory.path)
            except OutputError:
                _put_back(handle, staging.place)
                raise
            remove_held(directory.handle, ours)


def _replace(handle: int, output: Place) -> None:
    """Let ``new`` and the output change places; the output is ``old`` then.

    Whenever a kill comes, ``old`` is an output with a list: ``new`` has that name before they
    change. Where two names cannot be exchanged, an output that is nowhere else is brought back.
    """
    old, new = (handle, OLD), (handle, NEW)
    rename(new, old)
    if not exchange(old, output):
        rename(old, new)
        rename(output, old)
        rename(new, output)


def _put_back(handle: int, output: Place) -> None:
    old, new = (handle, OLD), (handle, NEW)
    if not exchange(old, output):
        rename(output, new)
        rename(old, output)
