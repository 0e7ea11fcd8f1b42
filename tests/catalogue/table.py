"""All cases by group, and what became of them."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from . import adapters, bases, bundles, data, directories, options, places, requests, results, texts
from .case import Case

GROUPS: Mapping[str, Callable[[], Iterator[Case]]] = {
    "options": options.cases,
    "requests": requests.cases,
    "adapter configurations": adapters.configurations,
    "adapter tensors": adapters.weights,
    "odd adapters": adapters.odd_ones,
    "merged, sparse, HydraLoRA": directories.cases,
    "layouts": directories.layouts,
    "manifests": bundles.manifests,
    "packs and programs": bundles.packs,
    "JSON lines": data.lines,
    "base models": data.bases,
    "unfit base models": bases.cases,
    "GGUF files": data.gguf,
    "tokenizers and chat templates": texts.cases,
    "results of profiles": results.profiles,
    "checkpoints": results.checkpoints,
    "points of frontiers": results.points,
    "terminals": places.terminals,
    "outputs": places.outputs,
    "hubs": places.hubs,
}


def failures(
    group: str, world: Path, scratch: Path, most: int | None = None
) -> tuple[int, list[str]]:
    """How many cases of a group were tried; name and problem of those that did not hold.

    Args:
        group: one of :data:`GROUPS`.
        world: what the cases are about, see :func:`.world.build`.
        scratch: where every case gets a copy of it.
        most: try about so many cases, evenly chosen; all by default.
    """
    cases = list(GROUPS[group]())
    if most:
        cases = cases[:: -(-len(cases) // most)]
    found = [(case.name, case.problem(world, scratch)) for case in cases]
    return len(cases), [f"{name}: {problem}" for name, problem in found if problem]
