"""``--jobs``, ``--backend`` and ``--address``: where units of work run."""

from contextlib import AbstractContextManager

from ..errors import UsageError


def workers(
    jobs: int | None, backend: str | None, address: str | None
) -> AbstractContextManager[None]:
    """Run units in the block as the options say.

    Raises:
        UsageError: the options do not go together, or the cluster is not reached.
    """
    from .. import parallel
    from ..clusters import cluster

    if backend is None:
        if address is not None:
            raise UsageError("--address is a cluster's; pass --backend too")
        return parallel.jobs(jobs)
    if jobs is not None:
        raise UsageError("--jobs counts the units on this machine; drop it, or --backend")
    return cluster(backend, address)
