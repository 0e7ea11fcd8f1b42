"""``--jobs``, ``--cluster`` and ``--address``: where units of work run."""

from contextlib import AbstractContextManager

from ..errors import UsageError


def workers(
    jobs: int | None, cluster: str | None, address: str | None
) -> AbstractContextManager[None]:
    """Run units in the block as the options say.

    Raises:
        UsageError: the options do not go together, or the cluster is not reached.
    """
    from .. import clusters, parallel

    if cluster is None:
        if address is not None:
            raise UsageError("--address is a cluster's; pass --cluster too")
        return parallel.jobs(jobs)
    if jobs is not None:
        raise UsageError("--jobs counts the units on this machine; drop it, or --cluster")
    return clusters.cluster(cluster, address)
