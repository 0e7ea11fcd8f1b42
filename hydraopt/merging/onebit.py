"""1bit-Merging (arXiv 2502.10743): per task the signs of some modules' deltas, the others merged.

In the chosen modules a task keeps ``mean|D_t| * sign(D_t)``, one bit per entry and one scale per
module; the other modules are merged by TIES into one delta for all tasks.

The paper quantises tasks' deltas to one bit where it sees their knowledge, in attention modules for
chat, in MLP modules for mathematics and code, and a router picks the task; here the task is
switched by hand. Its abstract leaves the scale and the merging of the rest open. The scale is
derived: ``mean|D|`` minimises ``||D - l sign(D)||²`` over l, for each module by itself. TIES for
the rest, at its defaults, is our choice.

Both kinds are dense: they are cut to ``rank`` by SVD, and the relative error is reported.
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
from .elementwise import deltas
from .registry import merging_method
from .ties import trimmed_mean

NAME = "1bit"


@merging_method(
    name=NAME,
    paper="1bit-Merging, arXiv 2502.10743",
    per_task=True,
    needs="nothing",
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
    """Merge into an A and a B per task in some modules, and one for all tasks in the others.

    Args:
        adapters: T adapters, of any ranks and target modules.
        modules: regular expression; the modules in whose names it is found keep one bit per task.
            All by default.
        density: share of entries that TIES's trimming keeps, in (0, 1].
        scale: weight of what TIES merged.
        rank: of the result; by default the largest rank of the adapters in one-bit modules, and
            ``min(out, in, sum of ranks)`` in the others.

    Raises:
        MergeError: ``modules`` is no regular expression or names no module of the adapters,
            ``density`` outside (0, 1] or ``rank`` below 1.
    """
    check_density(density)
    chosen = _matching(adapters, modules)

    def merge(module: str) -> Delta | Iterable[torch.Tensor]:
        if module in chosen:
            return (x.sign() * x.abs().mean() for x in deltas(adapters, module))
        return scale * trimmed_mean(adapters, module, density)

    settings: dict[str, Setting] = {"modules": modules, "density": density, "scale": scale}
    return merge_modules(NAME, adapters, merge, rank, settings)


def _matching(adapters: AdapterSet, pattern: str) -> set[str]:
    try:
        chosen = {module for module in adapters.shapes if re.search(pattern, module)}
    except re.error as error:
        raise MergeError(f"modules is {pattern!r}, no regular expression ({error})") from None
    if not chosen:
        raise MergeError(
            f"modules is {pattern!r}, which is found in no module's name; there are: "
            f"{', '.join(list(adapters.shapes)[:4])}, …"
        )
    return chosen
