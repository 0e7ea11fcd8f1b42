"""JSON files of hydraopt: format version, digest and schema are checked on reading."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import fastjsonschema

from .errors import BundleError
from .reading import MissingError, UnreadableError, file_bytes, json_value, shortened

SCHEMAS = Path(__file__).with_name("formats") / "schemas"
NO_DIGEST = b"0" * 64
DIGEST = re.compile(rb'"digest": "([0-9a-f]{64})"')


def sealed(fields: Mapping[str, object]) -> bytes:
    """Return ``fields`` as JSON, with a digest inserted after ``format_version``.

    The digest is the SHA-256 of the file itself with its 64 digits set to zero, so that readers in
    any language can check it without serialising JSON.
    """
    version, *others = fields.items()
    content = dict([version, ("digest", NO_DIGEST.decode()), *others])
    blank = (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
    return blank.replace(NO_DIGEST, hashlib.sha256(blank).hexdigest().encode(), 1)


def read_document(path: Path, name: str, version: int, writer: str) -> dict:
    """Read a JSON file that a command wrote; check version, digest and schema.

    Args:
        path: a JSON file.
        name: name of its schema, ``schemas/<name>.json``, which also says whether it has a digest.
        version: expected ``format_version``.
        writer: the command that writes such files, for messages.

    Raises:
        BundleError: the file is missing, damaged or modified, or has another version or codec.
    """
    try:
        content = file_bytes(path)
    except MissingError:
        raise BundleError(
            f"{path} is missing; expected a directory that `{writer}` wrote"
        ) from None
    except UnreadableError as error:
        raise BundleError(f"{path} is damaged ({error}); write it again with `{writer}`") from None
    return parse_document(content, path, name, version, writer)


def parse_document(content: bytes, path: Path, name: str, version: int, writer: str) -> dict:
    """Parse the ``content`` of ``path``, as :func:`read_document`."""
    again = f"write it again with `{writer}`"
    try:
        fields = json_value(content.decode())
        found = fields["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path} is damaged ({shortened(error)}); {again}") from None
    if found != version:
        newer = isinstance(found, int) and found > version
        step = "update hydraopt" if newer else again
        raise BundleError(
            f"{path} has format version {shortened(found)}, expected {version}; {step}"
        )
    schema, _ = _schema(name)
    if "digest" in schema["properties"] and not _is_sealed(content):
        raise BundleError(f"{path} is damaged or was changed: its digest differs; {again}")
    codecs = _allowed(schema["properties"].get("codec", {}))
    if codecs and "codec" in fields and fields["codec"] not in codecs:
        raise BundleError(
            f"{path} has codec {shortened(fields['codec'])}, expected {codecs[0]}; {again}"
        )
    try:
        return checked(fields, name)
    except UnreadableError as error:
        raise BundleError(f"{path} is damaged ({error}); {again}") from None


def checked(value: object, name: str) -> dict:
    """Return ``value`` if it matches the schema ``schemas/<name>.json``.

    Raises:
        UnreadableError: it does not match.
    """
    try:
        return _schema(name)[1](value)
    except fastjsonschema.JsonSchemaValueException as error:
        raise UnreadableError(shortened(error)) from None
    except RecursionError:
        raise UnreadableError("nested too deep") from None


def _allowed(property_schema: Mapping) -> list:
    """Return the values that a field's schema enumerates; empty if it does not."""
    const = [property_schema["const"]] if "const" in property_schema else []
    return property_schema.get("enum", const)


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
