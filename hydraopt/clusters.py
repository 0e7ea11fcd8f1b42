"""Units of work on the user's Dask or Ray cluster."""

import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from joblib import parallel_config

from .errors import UsageError
from .parallel import Workers, running_on
from .reading import shortened

if TYPE_CHECKING:
    from distributed import Client

CONNECTING = 10  # seconds
RETRIES = 3  # of a unit whose worker was lost, as Dask's default


@contextmanager
def cluster(kind: str, address: str | None = None) -> Iterator[None]:
    """Run units in the block on a cluster, whose workers have hydraopt and see the same files.

    Units of lost workers run again.

    Args:
        kind: ``dask`` or ``ray``.
        address: of Dask's scheduler, or of Ray's head node, by default the one of this machine.

    Raises:
        UsageError: the kind is unknown or not installed, or the cluster is not reached or lost.
    """
    if kind not in KINDS:
        raise UsageError(
            f"cluster is {kind!r}, expected one of {', '.join(KINDS)}", options=["cluster"]
        )
    try:
        with KINDS[kind](address), running_on(Workers(remote=True)):
            yield
    except ModuleNotFoundError as error:
        if error.name not in ("distributed", "ray"):
            raise
        raise UsageError(
            f"{kind} is not installed; pip install 'hydraopt[{kind}]'", options=["cluster"]
        ) from None


@contextmanager
def _dask(address: str | None) -> Iterator[None]:
    from distributed import Client, KilledWorker
    from distributed.comm import CommClosedError

    if address is None:
        raise UsageError(
            "Dask's scheduler is needed, such as tcp://10.0.0.1:8786; pass its address",
            options=["address"],
        )
    try:
        client = Client(address, timeout=CONNECTING, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise _unreached("Dask", address, error) from None
    with client, parallel_config("dask", client=client):
        try:
            _check_installed(client)
            yield
        except (CancelledError, CommClosedError, KilledWorker) as error:
            raise _lost("Dask", error) from None


def _check_installed(client: "Client") -> None:
    """Refuse a cluster without hydraopt, on which units would wait forever."""
    own = version("hydraopt")
    try:
        found = {
            client.run_on_scheduler(version, "hydraopt"),
            *client.run(version, "hydraopt").values(),
        }
    except PackageNotFoundError:
        found = {"none"}
    if found != {own}:
        raise UsageError(
            f"the Dask cluster has hydraopt {', '.join(sorted(found))}, expected {own} on the "
            "scheduler and all workers; install it there"
        )


@contextmanager
def _ray(address: str | None) -> Iterator[None]:
    import ray
    from ray.exceptions import RayError, RayTaskError
    from ray.util.joblib import register_ray

    place = address or "auto"
    try:
        _check_listening(place)
        ray.init(place, log_to_driver=False, logging_level="ERROR")
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreached("Ray", place, error) from None
    register_ray()
    again = {"max_restarts": -1, "max_task_retries": RETRIES}
    try:
        with parallel_config("ray", n_jobs=-1, ray_remote_args=again):
            yield
    except RayTaskError as error:  # of a unit, which Ray wraps
        raise error.cause from None
    except RayError as error:
        raise _lost("Ray", error) from None
    finally:
        ray.shutdown()


def _check_listening(address: str) -> None:
    """Raise ``OSError`` at once if nothing listens there; Ray itself tries for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and "/" not in address:
        socket.create_connection((host, int(port)), CONNECTING).close()


KINDS: Mapping[str, Callable[[str | None], AbstractContextManager[None]]] = {
    "dask": _dask,
    "ray": _ray,
}


def _unreached(name: str, address: str, error: Exception) -> UsageError:
    return UsageError(
        f"no {name} cluster at {shortened(address)} ({shortened(error)}), expected a running one "
        "of the same version; check the address",
        options=["address"],
    )


def _lost(name: str, error: Exception) -> UsageError:
    return UsageError(
        f"the {name} cluster was lost ({shortened(error)}); start the command again when it is back"
    )
