"""Read untrusted files: regular files of limited size, JSON and tensors with safe values."""

import json
import math
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

LARGEST = 64 << 20  # bytes of a file that is read into memory
LARGEST_TENSORS = 64 << 30  # bytes of a file of tensors
SHOWN = 120  # characters of a file's content in an error message
DIGITS = 40  # of an integer


class UnreadableError(ValueError):
    """A file cannot be read. The message is the reason alone; callers add path and next step."""


class MissingError(UnreadableError):
    """A file does not exist."""


def check_regular(path: Path, largest: int = LARGEST_TENSORS) -> None:
    """Check that ``path`` is a regular file of at most ``largest`` bytes, without opening it.

    Raises:
        MissingError: ``path`` does not exist.
        UnreadableError: a directory, pipe or device, a link loop, or too many bytes.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise MissingError("No such file or directory") from None
    except (OSError, ValueError) as error:
        raise UnreadableError(_reason(error)) from None
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError("not a regular file")
    if status.st_size > largest:
        raise UnreadableError(f"{status.st_size:,} bytes, expected at most {largest:,}")


def file_bytes(path: Path, largest: int = LARGEST) -> bytes:
    """Read a regular file; errors as :func:`check_regular`."""
    check_regular(path, largest)
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableError(_reason(error)) from None


def file_text(path: Path, largest: int = LARGEST) -> str:
    """Read a regular UTF-8 file; errors as :func:`check_regular`."""
    try:
        return file_bytes(path, largest).decode()
    except UnicodeDecodeError as error:
        raise UnreadableError(f"not UTF-8 at byte {error.start:,}") from None


def file_json(path: Path) -> Any:
    """Read a JSON file; errors as :func:`check_regular` and :func:`json_value`."""
    return json_value(file_text(path))


def json_value(text: str) -> Any:
    """Parse JSON.

    Raises:
        UnreadableError: invalid JSON, or values that are unsafe to use: nesting that is too deep,
            integers of more than ``DIGITS`` digits, non-finite numbers, lone surrogates.
    """
    try:
        value = json.loads(text, parse_int=_int, parse_float=_float, parse_constant=_refuse)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise UnreadableError("a lone surrogate, which is not valid text") from None
    except RecursionError:
        raise UnreadableError("nested too deep") from None
    except UnreadableError:
        raise
    except ValueError as error:
        raise UnreadableError(f"not JSON: {shortened(error)}") from None
    return value


def file_tensors(path: Path) -> dict[str, "torch.Tensor"]:
    """Read a safetensors file, whose tensors must be real floating-point numbers or integers.

    The file is read, not memory-mapped: truncating a mapped file would kill the process.

    Raises:
        MissingError: ``path`` does not exist.
        UnreadableError: not a complete safetensors file, or a complex tensor.
    """
    return _tensors(path, None)


def some_tensors(path: Path, names: Sequence[str]) -> dict[str, "torch.Tensor"]:
    """Read a few tensors of a safetensors file; errors as :func:`file_tensors`."""
    return _tensors(path, names)


def _tensors(path: Path, names: Sequence[str] | None) -> dict[str, "torch.Tensor"]:
    from safetensors import SafetensorError, safe_open  # takes seconds, with torch

    check_regular(path)
    try:
        with safe_open(path, framework="pt", backend="pread") as file:
            if names is None:
                tensors = file.get_tensors()
            else:
                tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise UnreadableError(_reason(error)) from None
    for name, tensor in tensors.items():
        if tensor.is_complex():
            raise UnreadableError(f"{shortened(name)} is complex, expected real numbers")
    return tensors


def metadata(path: Path) -> dict[str, str]:
    """Read the metadata in a safetensors file's header; errors as :func:`check_tensors`."""
    return _header(path) or {}


def check_tensors(path: Path) -> None:
    """Check by the header that a safetensors file is complete.

    Raises:
        UnreadableError: not a complete safetensors file.
    """
    _header(path)


def _header(path: Path) -> dict[str, str] | None:
    from safetensors import SafetensorError, safe_open  # as in file_tensors

    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata()
    except (SafetensorError, OSError, ValueError) as error:
        raise UnreadableError(_reason(error)) from None


def shortened(value: object) -> str:
    """Return ``value`` as one line of at most ``SHOWN`` characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _reason(error: Exception) -> str:
    """Return an error's message without its path, which callers add."""
    return shortened(getattr(error, "strerror", None) or error)


def _int(digits: str) -> int:
    if len(digits) > DIGITS:
        raise UnreadableError(f"a number of {len(digits):,} digits")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise UnreadableError(f"{shortened(digits)} is not a finite number")
    return number


def _refuse(constant: str) -> None:
    raise UnreadableError(f"{constant} is not a JSON number")
