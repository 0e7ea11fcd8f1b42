"""An update: a zip file with one task for a bundle that lies elsewhere, as in docs/formats.md."""

import hashlib
import io
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

from ..documents import parse_document, sealed
from ..errors import BundleError
from ..reading import UnreadableError, file_bytes, shortened
from .records import FileRecord

FORMAT_VERSION = 1
WRITER = "hydraopt add"
DOCUMENT, PACK, SIGNATURE = "update.json", "task.pack", "update.sig"
MARGIN = 1 << 20  # most bytes of an update beside its pack
AGAIN = "download it again"


@dataclass(frozen=True)
class Update:
    """A task of one program and one layout.

    Attributes:
        program: hex SHA-256 of the program that the task runs on.
        binding: hex of the 16 bytes that bind its pack to the layout and the shared payload.
        task: its name.
        version: its version; a greater one replaces a smaller one.
        adapter_bytes: fp16 bytes of the original adapter.
        classes: number of classes of its head; None without one.
        pack: size and hash of its pack.
    """

    program: str
    binding: str
    task: str
    version: int
    adapter_bytes: int
    classes: int | None
    pack: FileRecord

    @property
    def document(self) -> bytes:
        """Content of ``update.json``, with a digest; this is what a signature signs."""
        return sealed({"format_version": FORMAT_VERSION, **asdict(self)})


@dataclass(frozen=True)
class UpdateFile:
    """The entries of an update's file, not checked yet.

    Attributes:
        path: where it was read.
        document: content of ``update.json``.
        pack: the task's pack.
        signature: Ed25519 signature of ``document``; None without one.
    """

    path: Path
    document: bytes
    pack: bytes
    signature: bytes | None = None

    @classmethod
    def read(cls, path: Path, pack_bytes: int) -> "UpdateFile":
        """Read a file; ``pack_bytes`` is the size of every pack of the bundle.

        Raises:
            BundleError: it is missing, damaged, larger than an update of the bundle, or has other
                entries.
        """
        try:
            content = file_bytes(path, pack_bytes + MARGIN)
        except UnreadableError as error:
            raise BundleError(
                f"{path} is no update of this bundle ({error}); {AGAIN}, or get the right one"
            ) from None
        try:
            entries = _entries(content)
        except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, OSError) as error:
            raise BundleError(
                f"{path} is damaged or half downloaded ({shortened(error)}); {AGAIN}"
            ) from None
        return cls(path, entries[DOCUMENT], entries[PACK], entries.get(SIGNATURE))

    def update(self) -> Update:
        """Return what ``update.json`` says, once it and the pack are checked.

        Raises:
            BundleError: one of them is damaged, or of another format version.
        """
        where = self.path / DOCUMENT
        fields = parse_document(self.document, where, "update", FORMAT_VERSION, WRITER)
        del fields["format_version"], fields["digest"]
        update = Update(**{**fields, "pack": FileRecord(**fields["pack"])})
        if FileRecord(len(self.pack), hashlib.sha256(self.pack).hexdigest()) != update.pack:
            raise BundleError(
                f"{self.path / PACK} is damaged: its SHA-256 or size differs; {AGAIN}"
            )
        return update

    @property
    def content(self) -> bytes:
        """The zip file; equal entries give equal bytes."""
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, entry in ((DOCUMENT, self.document), (PACK, self.pack)):
                archive.writestr(zipfile.ZipInfo(name), entry)
            if self.signature is not None:
                archive.writestr(zipfile.ZipInfo(SIGNATURE), self.signature)
        return file.getvalue()


def _entries(content: bytes) -> dict[str, bytes]:
    """Return the entries of a zip file by name; they are stored, never compressed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        found = archive.infolist()
        names = sorted(entry.filename for entry in found)
        if names not in ([PACK, DOCUMENT], [PACK, DOCUMENT, SIGNATURE]):
            expected = f"expected {DOCUMENT}, {PACK} and perhaps {SIGNATURE}"
            raise ValueError(f"{expected}, found {', '.join(names) or 'nothing'}")
        for entry in found:
            stored = entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1
            largest = len(content) if entry.filename == PACK else MARGIN
            if not stored or not entry.compress_size == entry.file_size <= largest:
                raise ValueError(f"{entry.filename} is compressed or has a wrong size")
        return {entry.filename: archive.read(entry) for entry in found}
