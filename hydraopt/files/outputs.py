"""Write output directories atomically, replacing only directories that hydraopt wrote."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import OutputError
from .content import write_bytes
from .handles import opened
from .listing import LIST, Listing, remove_listed
from .locked import locked_directory
from .renames import Place, exchange, rename, rename_new
from .staging import NEW, OLD, Staging, remove_stale, staged


@contextmanager
def output_directory(
    path: str | Path, output_type: str, *, overwrite: bool = False
) -> Iterator[Path]:
    """Yield a temporary directory to write into, and rename it to ``path`` at the end.

    If the block ends early (an error, a full disk, an interrupt), ``path`` stays unchanged and the
    temporary directory is removed.

    Args:
        path: directory to write; a list of its files is added, which later allows replacing it.
        output_type: such as ``bundle``; only an output of this type or an empty directory is
            replaced.
        overwrite: replace an existing ``path``, provided that hydraopt wrote all its files.

    Raises:
        OutputError: ``path`` exists and may not be replaced, or cannot be written.
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
    """Raise the errors of :func:`output_directory` before anything is computed."""
    path = path.resolve()
    if path == Path.cwd() or path in Path.cwd().parents:
        raise OutputError(f"output {path} holds the current directory; choose another output")
    if path.parent.is_dir():
        with opened(path.parent) as parent:
            remove_stale(path, parent)
    if path.exists():
        _check_replaceable(path, overwrite=overwrite)
        with locked_directory(path) as directory:
            directory.check_listed(output_type)


def remove_output(path: Path, output_type: str) -> None:
    """Remove a directory that :func:`output_directory` wrote.

    Raises:
        OutputError: it is of another type, or holds files that hydraopt did not write.
    """
    with locked_directory(path) as directory:
        remove_listed(directory.handle, directory.check_listed(output_type))
    with suppress(OSError):  # a file was added in the meantime
        path.rmdir()


def write_files(directory: Path, output_type: str, contents: Mapping[str, bytes]) -> None:
    """Write files into a directory that may hold other files.

    Args:
        directory: an existing directory.
        output_type: what the directory is, for its file list.
        contents: path inside the directory -> content.

    Raises:
        OutputError: a name is taken by a file that hydraopt did not write, or cannot be written.
        BundleError: the file list is damaged.
    """
    with locked_directory(directory) as there:
        there.change(there.listing() or Listing(output_type, {}), contents)


def check_files(directory: Path, output_type: str, names: Iterable[str]) -> None:
    """Raise the errors of :func:`write_files`, also if no file in the directory is hydraopt's."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise OutputError(f"output {directory} is a file, expected a directory; choose another")
    with locked_directory(directory) as there:
        listing = there.listing()
        if listing is None and any(directory.iterdir()):
            raise OutputError(
                f"output {directory} holds files but no {LIST}; choose another output"
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
    """Rename the staged output to its target, replacing an earlier output."""
    with opened(staging.name, staging.parent) as handle:
        try:
            return rename_new((handle, NEW), staging.place)
        except FileExistsError:  # possibly created during the block
            _check_replaceable(staging.target, overwrite=overwrite)
        with locked_directory(staging.target) as directory:
            ours = directory.check_listed(output_type)
            _replace(handle, staging.place)
            try:
                ours.check_again(directory.handle, directory.path)
            except OutputError:
                _put_back(handle, staging.place)
                raise
            remove_listed(directory.handle, ours)


def _replace(handle: int, output: Place) -> None:
    """Swap staging into place: ``new`` becomes the output, and the output becomes ``old``.

    ``new`` is renamed to ``old`` first, so that a kill at any point leaves an output with a file
    list under ``old``. Without an atomic exchange, :meth:`Staging.remove` restores the output.
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
