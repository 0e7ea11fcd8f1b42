"""Access to the Hugging Face Hub: one request with a short timeout, then the local cache.

The client's own retries take most of a minute and log every attempt.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from .reading import UnreadableError, shortened

SECONDS = 5.0  # timeout of a request


def fetched(repository: str, names: Sequence[str]) -> Path:
    """Download some files of a repository, and return the directory that holds them.

    Args:
        repository: repository id, such as ``org/adapter``.
        names: file names.

    Raises:
        UnreadableError: no such repository, or the hub is out of reach and the cache lacks it.
    """
    from huggingface_hub import errors, snapshot_download  # loads HTTP clients

    problems = errors.HfHubHTTPError, errors.HFValidationError, errors.LocalEntryNotFoundError
    try:
        with in_reach(repository):
            return Path(snapshot_download(repository, allow_patterns=list(names)))
    except (*problems, OSError) as error:
        raise UnreadableError(shortened(str(error).partition("\n")[0])) from None


def repository_file(repository: str, name: str) -> Path | None:
    """Download one file of a repository; None if the repository lacks it.

    Call it inside :func:`in_reach`.

    Args:
        repository: repository id, such as ``org/model``.
        name: the file's path in the repository.

    Raises:
        UnreadableError: the hub is out of reach, and the cache cannot tell whether it exists.
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
    """Let libraries use the hub in the block only if it responds, and silence the client's log."""
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
    """Return whether the hub responds in time, even if only that the repository is unknown."""
    from huggingface_hub import HfApi, errors

    said: list[bool] = []

    def ask() -> None:
        try:
            HfApi().repo_info(repository, timeout=SECONDS)
            said.append(True)
        except (errors.HfHubHTTPError, errors.HFValidationError):
            said.append(True)
        except Exception:  # depends on the HTTP client
            said.append(False)

    asking = Thread(target=ask, daemon=True)  # a DNS lookup cannot be interrupted
    asking.start()
    asking.join(SECONDS)
    return bool(said and said[0])
