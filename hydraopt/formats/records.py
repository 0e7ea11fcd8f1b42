"""Sizes and hashes of files, to check that a directory is complete."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import BundleError
from ..files import sha256


@dataclass(frozen=True)
class FileRecord:
    """Size and hex SHA-256 of one file."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "FileRecord":
        """Return the record of a file."""
        return cls(path.stat().st_size, sha256(path))


def records(directory: Path, names: Iterable[str]) -> dict[str, dict]:
    """Return the records of files as JSON values."""
    return {name: asdict(FileRecord.of(directory / name)) for name in names}


def parse_records(fields: Mapping[str, Mapping]) -> dict[str, FileRecord]:
    """The inverse of :func:`records`."""
    return {name: FileRecord(**record) for name, record in fields.items()}


def check_files(directory: Path, files: Mapping[str, FileRecord], verb: str) -> None:
    """Check files against their records.

    Args:
        directory: directory of the files.
        files: path inside the directory -> record.
        verb: command that writes such files, such as ``export``, for messages.

    Raises:
        BundleError: a file is missing or differs.
    """
    again = f"{verb} or copy it again"
    for name, expected in files.items():
        path = directory / name
        if not path.is_file():
            raise BundleError(f"{path} is missing; {again}")
        size = path.stat().st_size
        if size != expected.bytes:
            raise BundleError(
                f"{path} is damaged or from another directory: {size:,} bytes, expected "
                f"{expected.bytes:,}; {again}"
            )
        found = FileRecord.of(path).sha256
        if found != expected.sha256:
            raise BundleError(
                f"{path} is damaged or from another directory: SHA-256 {found[:12]}…, expected "
                f"{expected.sha256[:12]}…; {again}"
            )
