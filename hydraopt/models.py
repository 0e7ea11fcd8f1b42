"""Load base models with transformers, and read their end tokens and context length."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, overload

from .bases.files import UnfitError, check_files
from .errors import HydraOptError
from .hub import in_reach
from .reading import shortened

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def loading_base(source: str, error: type[HydraOptError]) -> Iterator[None]:
    """Load a base model with transformers in the block; any exception becomes one line.

    Args:
        source: directory or hub id.
        error: class to raise: for a model that cannot be used, unsafe files in the directory, a
            hub out of reach, or any exception of the libraries.
    """
    from transformers.utils import logging  # takes seconds

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)  # its long reports are errors here
    try:
        with warnings.catch_warnings(action="ignore"):
            if Path(source).is_dir():
                check_files(Path(source))
                yield
            else:
                with in_reach(source):
                    yield
    except HydraOptError:
        raise
    except UnfitError as problem:
        raise error(f"base model {shortened(source)!r} {problem}") from problem
    except Exception as problem:  # any type, by the kind of damage
        text = getattr(problem, "strerror", None) or str(problem).strip().partition("\n")[0]
        reason = shortened(text) or type(problem).__name__
        raise error(
            f"cannot load base model {shortened(source)!r} ({reason}); pass the directory or hub "
            "id of a whole model"
        ) from problem
    finally:
        logging.set_verbosity(verbosity)


def end_tokens(model: "PreTrainedModel") -> tuple[int, ...]:
    """Return the ids of the end-of-sequence tokens: none, one or several."""
    ends = model.generation_config.eos_token_id
    return () if ends is None else (ends,) if isinstance(ends, int) else tuple(ends)


@overload
def context_length(model: "PreTrainedModel") -> float: ...


@overload
def context_length(model: "PreTrainedModel", default: int) -> int: ...


def context_length(model: "PreTrainedModel", default: float = math.inf) -> float:
    """Return the context length in tokens; ``default`` if the configuration has no limit."""
    return getattr(model.config, "max_position_embeddings", default)
