"""Time and peak memory of merging 40 adapters of Llama-3.2-1B's shape.

    python tests/benchmarks/merge_memory.py [--clusters K]

r = 16 on q, k, v and o of 16 layers, random values. The alternative in the same run is the SVD of
the dense stack of deltas, of one module only: it alone takes more memory than the whole merge.
"""

import resource
import subprocess
import sys
import time
from typing import Annotated

import torch
import typer

TASKS, RANK, LAYERS = 40, 16, 16
SHAPES = {
    "q_proj": (2048, 2048),
    "k_proj": (512, 2048),
    "v_proj": (512, 2048),
    "o_proj": (2048, 2048),
}


def random_adapters(layers: int):
    from hydraopt.adapters import AdapterSet, LoraAdapter
    from hydraopt.factors import Factors

    generator = torch.Generator().manual_seed(0)
    common = {
        name: torch.randn(RANK, shape[1], generator=generator) for name, shape in SHAPES.items()
    }

    def factors(name: str) -> Factors:
        rows, columns = SHAPES[name]
        a = common[name] + 0.3 * torch.randn(RANK, columns, generator=generator)
        return Factors(a, torch.randn(rows, RANK, generator=generator))

    return AdapterSet(
        LoraAdapter(
            f"task{task}",
            "meta-llama/Llama-3.2-1B",
            {
                f"layers.{n}.self_attn.{name}": factors(name)
                for n in range(layers)
                for name in SHAPES
            },
        )
        for task in range(TASKS)
    )


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(what: str, clusters: int) -> None:
    """Run one variant and print its seconds and its growth of peak memory."""
    from hydraopt.merging.hydraopt import hydraopt

    adapters = random_adapters(LAYERS if what == "factors" else 1)
    before, start = peak_mib(), time.perf_counter()
    if what == "factors":
        hydraopt(adapters, clusters=clusters)
    else:
        module = next(iter(adapters.shapes))
        deltas = [x.factors[module].b @ x.factors[module].a for x in adapters.adapters]
        torch.linalg.svd(torch.cat(deltas), full_matrices=False)
    seconds = time.perf_counter() - start
    label = {"factors": f"hydraopt K={clusters}, 64 modules", "dense": "dense SVD, 1 module"}[what]
    print(f"{label:28s} {seconds:7.1f} s   peak +{peak_mib() - before:6.0f} MiB", flush=True)


def main(
    clusters: Annotated[int, typer.Option(help="K.")] = 8,
    only: Annotated[str | None, typer.Option(help="factors or dense.")] = None,
) -> None:
    """Measure both variants, each in a process of its own."""
    if only:
        measure(only, clusters)
        return
    for what in ("factors", "dense"):
        command = [sys.executable, __file__, "--clusters", str(clusters), "--only", what]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    typer.run(main)
