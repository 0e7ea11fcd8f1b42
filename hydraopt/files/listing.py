"""What we wrote into a directory, by name and digest: nothing else in it may go."""

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
FOREIGN, CHANGED, NEW = "is not ours", "was changed since", "came meanwhile"


@dataclass(frozen=True)
class Listing:
    """The files that we wrote into a directory.

    Attributes:
        output_type: what the directory is, such as ``bundle``.
        files: path inside the directory -> SHA-256 in hex. There are two while a file is replaced,
            so that a command that is killed leaves nothing of which we do not know.
    """

    output_type: str
    files: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, directory: Path, output_type: str) -> "Listing":
        """All files of a directory that only we have written to."""
        with opened(directory) as handle:
            paths = [entry.path for entry in entries(handle) if not entry.is_directory]
            found = {path: digest(path, handle) for path in progress(paths, "hash")}
        return cls(output_type, {path: (value,) for path, value in found.items() if value})

    @classmethod
    def read(cls, handle: int, path: Path) -> "Listing | None":
        """That in an open directory; None if there is none.

        Args:
            handle: of the directory.
            path: of the directory, for messages.

        Raises:
            BundleError: a list that was changed, is damaged, or of another version.
        """
        if status_of(LIST, handle) is None:
            return None
        found = content(LIST, handle, LARGEST)
        if found is None:
            raise BundleError(f"{path / LIST} is no file of ours; move it away")
        try:
            fields = parse_document(found, path / LIST, "files", FORMAT_VERSION, "hydraopt")
        except BundleError as error:
            raise BundleError(
                f"{path / LIST} was changed or is of another version; delete it, and nothing in "
                f"{path} is taken for ours"
            ) from error
        return cls(fields["output_type"], {name: tuple(x) for name, x in fields["files"].items()})

    def with_more(self, files: Mapping[str, str]) -> "Listing":
        """The same with other files, or other content: path -> SHA-256 in hex."""
        more = {
            path: tuple(dict.fromkeys((*self.files.get(path, ()), value)))
            for path, value in files.items()
        }
        return Listing(self.output_type, {**self.files, **more})

    @property
    def document(self) -> bytes:
        """The content of its file."""
        files = {path: list(digests) for path, digests in sorted(self.files.items())}
        return sealed(
            {"format_version": FORMAT_VERSION, "output_type": self.output_type, "files": files}
        )

    @cached_property
    def directories(self) -> frozenset[str]:
        """The directories that its files are in."""
        return _directories(self.files)

    def holds(self, entry: Entry) -> bool:
        """Whether something is ours and as we wrote it, by its digest."""
        if entry.is_directory:
            return entry.path in self.directories
        if entry.path == LIST:
            return True  # this was read from it
        known = self.files.get(entry.path)
        return known is not None and digest(entry.name, entry.parent) in known


@dataclass(frozen=True)
class Checked:
    """The files of an output that is ours as a whole, and what shows that they are as they were."""

    signatures: Mapping[str, tuple[int, ...]]

    @cached_property
    def directories(self) -> frozenset[str]:
        """The directories that its files are in."""
        return _directories(self.signatures)

    def holds(self, entry: Entry) -> bool:
        """Whether something was there and nobody wrote to it since."""
        if entry.is_directory:
            return entry.path in self.directories
        return self.signatures.get(entry.path) == entry.signature

    def check_again(self, handle: int, path: Path) -> None:
        """Raise ``OutputError`` if anything came into the directory since, or was changed."""
        for entry in entries(handle):
            if not self.holds(entry):
                raise OutputError(f"output {path} holds {entry.path}, which {NEW}, {STEP}")


def check_ours(handle: int, path: Path, output_type: str) -> Checked:
    """What is in an output, all of which we wrote.

    Args:
        handle: of the directory.
        path: of the directory, for messages.
        output_type: what the directory is, such as ``bundle``.

    Raises:
        OutputError: it is of another type, or holds anything that we did not write.
    """
    try:
        listing = Listing.read(handle, path)
    except BundleError as error:
        raise OutputError(f"{error}; it is not overwritten") from error
    if listing is None:
        if os.listdir(handle):
            raise OutputError(f"output {path} holds other files and no {LIST} of ours, {STEP}")
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


def remove_held(handle: int, listing: Listing | Checked) -> None:
    """Remove all that ``listing`` holds, and last the list: until then a kill loses no names."""
    remove(handle, lambda entry: entry.path != LIST and listing.holds(entry))
    remove(handle, lambda entry: entry.path == LIST and listing.holds(entry))


def _directories(paths: Iterable[str]) -> frozenset[str]:
    return frozenset(str(x) for path in paths for x in PurePosixPath(path).parents)
