"""What Hugging Face models say of themselves in more than one form."""

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
    """Let transformers load a base model from a directory or a hub id while the block runs.

    Raises:
        HydraOptError: of the given kind: a model that cannot be used, files in the directory that
            nobody should open, a hub out of reach, or whatever the libraries raise.
    """
    from transformers.utils import logging  # seconds

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)  # reports of many lines of what is an error here
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
    except Exception as problem:  # what is raised depends on where the damage is
        text = getattr(problem, "strerror", None) or str(problem).strip().partition("\n")[0]
        reason = shortened(text) or type(problem).__name__
        raise error(
            f"cannot load base model {shortened(source)!r} ({reason}); pass the directory or hub "
            "id of a whole model"
        ) from problem
    finally:
        logging.set_verbosity(verbosity)


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
