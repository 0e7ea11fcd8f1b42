"""Reading what others wrote: regular files of a sane size, JSON and tensors that are no trap."""

import json
import math
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

LARGEST = 64 << 20  # bytes of a file that is read whole
LARGEST_TENSORS = 64 << 30  # of one of tensors
SHOWN = 120  # characters of what a file holds that an error repeats
DIGITS = 40  # of a number


class UnreadableError(ValueError):
    """Why a file cannot be read, in a few words; the reader says which file, and what to do."""


class MissingError(UnreadableError):
    """There is no such file."""


def check_regular(path: Path, largest: int = LARGEST_TENSORS) -> None:
    """Refuse what never ends, waits for a writer, or is no file, before it is opened.

    Raises:
        MissingError: there is nothing.
        UnreadableError: a directory, pipe or device, a link without end, or too many bytes.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise MissingError("No such file or directory") from None
    except (OSError, ValueError) as error:
        raise UnreadableError(_reason(error)) from None
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError("no regular file")
    if status.st_size > largest:
        raise UnreadableError(f"{status.st_size:,} bytes, expected at most {largest:,}")


def file_bytes(path: Path, largest: int = LARGEST) -> bytes:
    """The content of a regular file; errors as :func:`check_regular`."""
    check_regular(path, largest)
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableError(_reason(error)) from None


def file_text(path: Path, largest: int = LARGEST) -> str:
    """The text of a regular file in UTF-8; errors as :func:`check_regular`."""
    try:
        return file_bytes(path, largest).decode()
    except UnicodeDecodeError as error:
        raise UnreadableError(f"no UTF-8 at byte {error.start:,}") from None


def file_json(path: Path) -> Any:
    """The value in a JSON file; errors as :func:`check_regular` and :func:`json_value`."""
    return json_value(file_text(path))


def json_value(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        UnreadableError: no JSON; or what breaks those who use it: too deep, a number of hundreds
            of digits or that is not finite, half a surrogate pair.
    """
    try:
        value = json.loads(text, parse_int=_int, parse_float=_float, parse_constant=_refuse)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise UnreadableError("half a surrogate pair, which is no text") from None
    except RecursionError:
        raise UnreadableError("nested too deep") from None
    except UnreadableError:
        raise
    except ValueError as error:
        raise UnreadableError(f"no JSON: {shortened(error)}") from None
    return value


def file_tensors(path: Path) -> dict[str, "torch.Tensor"]:
    """The tensors of a safetensors file, all of them real floating-point numbers or integers.

    They are read, not mapped: a file that others cut short later would end the process.

    Raises:
        MissingError: there is nothing.
        UnreadableError: no whole safetensors file, or a complex tensor.
    """
    from safetensors import SafetensorError  # seconds, with torch
    from safetensors.torch import load_file

    check_regular(path)
    try:
        tensors = load_file(path, backend="pread")
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise UnreadableError(_reason(error)) from None
    for name, tensor in tensors.items():
        if tensor.is_complex():
            raise UnreadableError(f"{shortened(name)} is complex, expected real numbers")
    return tensors


def check_tensors(path: Path) -> None:
    """Read the head of a safetensors file, which tells whether the rest is there.

    Raises:
        UnreadableError: no whole safetensors file.
    """
    from safetensors import SafetensorError, safe_open  # as in file_tensors

    try:
        with safe_open(path, framework="pt"):
            pass
    except (SafetensorError, OSError, ValueError) as error:
        raise UnreadableError(_reason(error)) from None


def shortened(value: object) -> str:
    """A value as text that fits into one line."""
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _reason(error: Exception) -> str:
    """What an error says, without the path that the reader names."""
    return shortened(getattr(error, "strerror", None) or error)


def _int(digits: str) -> int:
    if len(digits) > DIGITS:
        raise UnreadableError(f"a number of {len(digits):,} digits")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise UnreadableError(f"{shortened(digits)} is no finite number")
    return number


def _refuse(constant: str) -> None:
    raise UnreadableError(f"{constant} is no number of JSON")
