"""The hub of models: asked once and for seconds; out of reach, its cache on this machine answers.

The client's own retries take most of a minute and tell each of them in the log.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from .reading import UnreadableError, shortened

SECONDS = 5.0  # for an answer


def fetched(repository: str, names: Sequence[str]) -> Path:
    """A directory with some files of a repository.

    Args:
        repository: its id, such as ``org/adapter``.
        names: of the files.

    Raises:
        UnreadableError: no such repository, or out of reach and not in the cache.
    """
    from huggingface_hub import errors, snapshot_download  # it loads clients of HTTP

    problems = errors.HfHubHTTPError, errors.HFValidationError, errors.LocalEntryNotFoundError
    try:
        with in_reach(repository):
            return Path(snapshot_download(repository, allow_patterns=list(names)))
    except (*problems, OSError) as error:
        raise UnreadableError(shortened(str(error).partition("\n")[0])) from None


def repository_file(repository: str, name: str) -> Path | None:
    """One file of a repository; None if it is known to have no such file.

    To be called inside of :func:`in_reach`.

    Args:
        repository: its id, such as ``org/model``.
        name: the file's path in it.

    Raises:
        UnreadableError: out of reach, and the cache does not know whether there is such a file.
    """
    from huggingface_hub import errors, hf_hub_download, try_to_load_from_cache

    try:
        return Path(hf_hub_download(repository, name))
    except errors.LocalEntryNotFoundError:
        known = try_to_load_from_cache(repository, name)
        if known is None:
            raise UnreadableError("the hub is out of reach, and it is not in the cache") from None
        return Path(known) if isinstance(known, str) else None
    except errors.EntryNotFoundError:
        return None
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        raise UnreadableError(shortened(str(error).partition("\n")[0])) from None


@contextmanager
def in_reach(repository: str) -> Iterator[None]:
    """Let libraries ask the hub while the block runs only if it answers; quiet in any case."""
    from huggingface_hub import constants

    log = logging.getLogger("huggingface_hub")
    before, level = constants.HF_HUB_OFFLINE, log.level
    log.setLevel(logging.CRITICAL)
    constants.HF_HUB_OFFLINE = before or not _answers(repository)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        log.setLevel(level)


def _answers(repository: str) -> bool:
    """Whether the hub says anything within the time, be it that it has no such repository."""
    from huggingface_hub import HfApi, errors

    said: list[bool] = []

    def ask() -> None:
        try:
            HfApi().repo_info(repository, timeout=SECONDS)
            said.append(True)
        except (errors.HfHubHTTPError, errors.HFValidationError):
            said.append(True)
        except Exception:  # of the client of HTTP, of which there are several
            said.append(False)

    asking = Thread(target=ask, daemon=True)  # looking up a name cannot be interrupted
    asking.start()
    asking.join(SECONDS)
    return bool(said and said[0])
