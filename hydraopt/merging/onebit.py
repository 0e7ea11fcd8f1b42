"""1bit-Merging (arXiv 2502.10743): one-bit deltas per task in some modules, the rest merged.

In the chosen modules a task keeps ``mean|D_t| * sign(D_t)``, one bit per entry and one scale per
module. TIES merges the other modules into one delta for all tasks.

The paper quantises the modules that hold a task's knowledge (attention for chat, MLP for
mathematics and code), and a router picks the task; here the caller switches tasks. The abstract
leaves the scale and the merging of the other modules open. The scale is derived: ``mean|D|``
minimises ``||D - l sign(D)||²`` over l in each module. TIES at its defaults is our choice.

Both kinds of delta are dense: they are truncated to ``rank`` by SVD and the relative error is
reported.
"""

import re
from collections.abc import Iterable

import torch

from ..adapters import AdapterSet
from ..errors import MergeError
from ..factors import Delta
from ..stored import MergedAdapters, Setting
from .assemble import merge_modules
from .checks import check_density
from .elementwise import deltas, trimmed_mean
from .registry import merging_method

NAME = "1bit"


@merging_method(
    name=NAME,
    paper="1bit-Merging, arXiv 2502.10743",
    per_task=True,
    storage="T m n / 16 + T, or m n merged",
)
def onebit(
    adapters: AdapterSet,
    *,
    modules: str = "",
    density: float = 0.2,
    scale: float = 1.0,
    rank: int | None = None,
) -> MergedAdapters:
    """Merge into factors per task in some modules, and shared factors in the others.

    Args:
        adapters: T adapters, of any ranks and target modules.
        modules: regular expression, searched in module names; matching modules keep one bit per
            entry and task. Defaults to all modules.
        density: share of entries that TIES's trimming keeps, in (0, 1].
        scale: weight of the deltas that TIES merges.
        rank: rank of the result; defaults to the adapters' largest rank in one-bit modules and to
            ``min(out, in, sum of ranks)`` in the others.

    Raises:
        MergeError: ``modules`` is not a regular expression or matches no module, ``density`` is
            outside (0, 1] or ``rank`` below 1.
    """
    check_density(density)
    chosen = _matching(adapters, modules)

    def merge(adapters: AdapterSet, module: str) -> Delta | Iterable[torch.Tensor]:
        if module in chosen:
            return (x.sign() * x.abs().mean() for x in deltas(adapters, module))
        return scale * trimmed_mean(deltas(adapters, module), density)

    settings: dict[str, Setting] = {"modules": modules, "density": density, "scale": scale}
    return merge_modules(NAME, adapters, merge, rank, settings)


def _matching(adapters: AdapterSet, pattern: str) -> set[str]:
    try:
        chosen = {module for module in adapters.shapes if re.search(pattern, module)}
    except re.error as error:
        raise MergeError(f"modules is {pattern!r}, not a regular expression ({error})") from None
    if not chosen:
        raise MergeError(
            f"modules is {pattern!r}, which matches no module; available modules: "
            f"{', '.join(list(adapters.shapes)[:4])}, …"
        )
    return chosen
