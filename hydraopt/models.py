"""What Hugging Face models say of themselves in more than one form."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, overload

from .errors import HydraOptError
from .hub import in_reach
from .reading import LARGEST_TENSORS, UnreadableError, check_regular, file_json, shortened

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def loading_base(source: str, error: type[HydraOptError]) -> Iterator[None]:
    """Let transformers load a base model from a directory or a hub id while the block runs.

    Raises:
        HydraOptError: of the given kind: files in the directory that nobody should open, a hub
            out of reach, or whatever the libraries raise of a model that is not whole.
    """
    from transformers.utils import logging  # seconds

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)  # reports of many lines of what is an error here
    try:
        with warnings.catch_warnings(action="ignore"):
            if Path(source).is_dir():
                _check_files(Path(source))
                yield
            else:
                with in_reach(source):
                    yield
    except HydraOptError:
        raise
    except Exception as problem:  # what is raised depends on where the damage is
        text = getattr(problem, "strerror", None) or str(problem).strip().partition("\n")[0]
        reason = shortened(text) or type(problem).__name__
        raise error(
            f"cannot load base model {shortened(source)!r} ({reason}); pass the directory or hub "
            "id of a whole model"
        ) from problem
    finally:
        logging.set_verbosity(verbosity)


def _check_files(directory: Path) -> None:
    """Read all JSON once, and open nothing that is no file: libraries trust both."""
    for path in sorted(directory.iterdir()):
        try:
            if path.suffix == ".json":
                file_json(path)
            elif not path.is_dir():
                check_regular(path, LARGEST_TENSORS)
        except UnreadableError as error:
            raise UnreadableError(f"{path.name}: {error}") from None


def end_tokens(model: "PreTrainedModel") -> tuple[int, ...]:
    """The tokens that end a generation; none, one or several."""
    ends = model.generation_config.eos_token_id
    return () if ends is None else (ends,) if isinstance(ends, int) else tuple(ends)


@overload
def context_length(model: "PreTrainedModel") -> float: ...


@overload
def context_length(model: "PreTrainedModel", default: int) -> int: ...


def context_length(model: "PreTrainedModel", default: float = math.inf) -> float:
    """Tokens of the longest text; ``default`` if the configuration names no limit."""
    return getattr(model.config, "max_position_embeddings", default)
