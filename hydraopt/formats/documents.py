"""JSON files: read whole or not at all, checked by a schema, sealed by a digest."""

import hashlib
import json
import re
import stat
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import fastjsonschema

from ..errors import BundleError

SCHEMAS = Path(__file__).with_name("schemas")
LARGEST = 64 << 20  # bytes of a file
SHOWN = 200  # characters of what a file holds that an error repeats
NO_DIGEST = b"0" * 64
DIGEST = re.compile(rb'"digest": "([0-9a-f]{64})"')


def sealed(fields: Mapping[str, object]) -> bytes:
    """JSON of ``fields``, with their digest after the first one, ``format_version``.

    The digest is the SHA-256 of these very bytes with zeros for its 64 digits, so that a reader in
    any language checks it without writing JSON.
    """
    version, *others = fields.items()
    content = dict([version, ("digest", NO_DIGEST.decode()), *others])
    blank = (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
    return blank.replace(NO_DIGEST, hashlib.sha256(blank).hexdigest().encode(), 1)


def read_document(path: Path, name: str, version: int, writer: str) -> dict:
    """Read what a command wrote, checked by version, digest and schema.

    Args:
        path: a JSON file.
        name: of its schema, ``schemas/<name>.json``; it says whether the file is sealed.
        version: the ``format_version`` that is read here.
        writer: the command that writes such files.

    Raises:
        BundleError: no such file, another version, or anything that differs from what was written.
    """
    content = read_bytes(path, writer)
    try:
        fields = json.loads(content, parse_constant=_refuse)
        found = fields["format_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(
            f"{path} is damaged ({shortened(error)}); write it again with `{writer}`"
        ) from error
    if found != version:
        step = f"write it again with `{writer}`"
        if isinstance(found, int) and found > version:
            step = "update hydraopt"
        raise BundleError(
            f"{path} has format version {shortened(found)}, expected {version}; {step}"
        )
    schema, validate = _schema(name)
    if "digest" in schema["properties"] and not _is_sealed(content):
        raise BundleError(
            f"{path} is damaged or was changed: its digest differs; write it again with `{writer}`"
        )
    try:
        return validate(fields)
    except fastjsonschema.JsonSchemaValueException as error:
        raise BundleError(
            f"{path} is damaged ({shortened(error)}); write it again with `{writer}`"
        ) from error


def read_bytes(path: Path, writer: str) -> bytes:
    """The content of a regular file of a sane size.

    Raises:
        BundleError: no such file, a directory, pipe or device, or too many bytes.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{path} is no regular file; expected one that `{writer}` wrote")
        if status.st_size > LARGEST:
            raise BundleError(
                f"{path} has {status.st_size:,} bytes, expected at most {LARGEST:,}; it is none "
                f"that `{writer}` wrote"
            )
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(
            f"{path} is missing; expected a directory that `{writer}` wrote"
        ) from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror or error})") from error


def shortened(value: object) -> str:
    """A value as text that fits into one line."""
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _is_sealed(content: bytes) -> bool:
    found = DIGEST.search(content)
    if found is None:
        return False
    blank = content[: found.start(1)] + NO_DIGEST + content[found.end(1) :]
    return hashlib.sha256(blank).hexdigest().encode() == found[1]


@cache
def _schema(name: str) -> tuple[dict, Callable[[object], dict]]:
    schema = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    return schema, fastjsonschema.compile(schema)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")
