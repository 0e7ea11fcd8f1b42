"""The list of files in an output, with digests: only these may be removed or replaced."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from ..documents import parse_document, sealed
from ..errors import BundleError, OutputError
from ..progress import progress
from ..reading import LARGEST
from .handles import Entry, content, digest, entries, opened, remove, status_of

LIST = "hydraopt-files.json"
FORMAT_VERSION = 2
STEP = "so it is not overwritten; choose another output, or delete it yourself"
FOREIGN, CHANGED = "hydraopt did not write", "was modified since it was written"
NEW = "was added in the meantime"


@dataclass(frozen=True)
class Listing:
    """The files that hydraopt wrote into a directory.

    Attributes:
        output_type: what the directory is, such as ``bundle``.
        files: path inside the directory -> SHA-256 in hex; two of them while a file is replaced,
            so that either version is recognised after a killed command.
    """

    output_type: str
    files: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, directory: Path, output_type: str) -> "Listing":
        """List and hash all files of a directory that only this process has written to."""
        with opened(directory) as handle:
            paths = [entry.path for entry in entries(handle) if not entry.is_directory]
            found = {path: digest(path, handle) for path in progress(paths, "hash")}
        return cls(output_type, {path: (value,) for path, value in found.items() if value})

    @classmethod
    def read(cls, handle: int, path: Path) -> "Listing | None":
        """Read the list of an open directory; None if it has none.

        Args:
            handle: handle of the directory.
            path: path of the directory, for messages.

        Raises:
            BundleError: the list is damaged, was modified, or has another version.
        """
        if status_of(LIST, handle) is None:
            return None
        found = content(LIST, handle, LARGEST)
        if found is None:
            raise BundleError(f"{path / LIST} is not hydraopt's list of files; move it away")
        try:
            fields = parse_document(found, path / LIST, "files", FORMAT_VERSION, "hydraopt")
        except BundleError as error:
            raise BundleError(
                f"{path / LIST} was modified or has another version; delete it to keep every file "
                f"in {path}"
            ) from error
        return cls(fields["output_type"], {name: tuple(x) for name, x in fields["files"].items()})

    def with_more(self, files: Mapping[str, str]) -> "Listing":
        """Return a list extended by ``files``: path -> SHA-256 in hex."""
        more = {
            path: tuple(dict.fromkeys((*self.files.get(path, ()), value)))
            for path, value in files.items()
        }
        return Listing(self.output_type, {**self.files, **more})

    @property
    def document(self) -> bytes:
        """Content of the list's file."""
        files = {path: list(digests) for path, digests in sorted(self.files.items())}
        return sealed(
            {"format_version": FORMAT_VERSION, "output_type": self.output_type, "files": files}
        )

    @cached_property
    def directories(self) -> frozenset[str]:
        """Directories of the listed files."""
        return _directories(self.files)

    def holds(self, entry: Entry) -> bool:
        """Return whether an entry is listed and unmodified, by its digest."""
        if entry.is_directory:
            return entry.path in self.directories
        if entry.path == LIST:
            return True  # the list does not contain itself
        known = self.files.get(entry.path)
        return known is not None and digest(entry.name, entry.parent) in known


@dataclass(frozen=True)
class Checked:
    """Path -> signature of the files of an output whose every file was checked."""

    signatures: Mapping[str, tuple[int, ...]]

    @cached_property
    def directories(self) -> frozenset[str]:
        """Directories of the checked files."""
        return _directories(self.signatures)

    def holds(self, entry: Entry) -> bool:
        """Return whether an entry was checked and is unmodified since."""
        if entry.is_directory:
            return entry.path in self.directories
        return self.signatures.get(entry.path) == entry.signature

    def check_again(self, handle: int, path: Path) -> None:
        """Raise ``OutputError`` if an entry was added or modified since the check."""
        for entry in entries(handle):
            if not self.holds(entry):
                raise OutputError(f"output {path} holds {entry.path}, which {NEW}, {STEP}")


def check_listed(handle: int, path: Path, output_type: str) -> Checked:
    """Check that hydraopt wrote every file of an output.

    Args:
        handle: handle of the directory.
        path: path of the directory, for messages.
        output_type: expected type, such as ``bundle``.

    Raises:
        OutputError: the output is of another type, or holds a file that hydraopt did not write or
            that was modified.
    """
    try:
        listing = Listing.read(handle, path)
    except BundleError as error:
        raise OutputError(f"{error}; it is not overwritten") from error
    if listing is None:
        if os.listdir(handle):
            raise OutputError(f"output {path} holds files but no {LIST}, {STEP}")
        return Checked({})
    if listing.output_type != output_type:
        raise OutputError(
            f"output {path} is a {listing.output_type}, expected a {output_type}, {STEP}"
        )
    found = {}
    for entry in entries(handle):
        if not listing.holds(entry):
            what = CHANGED if entry.path in listing.files else FOREIGN
            raise OutputError(f"output {path} holds {entry.path}, which {what}, {STEP}")
        if not entry.is_directory:
            found[entry.path] = entry.signature
    return Checked(found)


def remove_listed(handle: int, listing: Listing | Checked) -> None:
    """Remove all files of ``listing``; the list itself last, so that a killed run can resume."""
    remove(handle, lambda entry: entry.path != LIST and listing.holds(entry))
    remove(handle, lambda entry: entry.path == LIST and listing.holds(entry))


def _directories(paths: Iterable[str]) -> frozenset[str]:
    return frozenset(str(x) for path in paths for x in PurePosixPath(path).parents)
