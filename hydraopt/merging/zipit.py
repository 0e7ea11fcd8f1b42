"""ZipIt! (arXiv 2305.03053) for adapters: one model, by merging directions that act alike.

A LoRA delta is a small hidden layer, ``h = A x`` and ``y = B h``. Per module:

1. Directions: the N singular directions of all ``D_t``, which are independent of A and B's gauge.
2. Correlations ``E[h_i h_j] / sqrt(E[h_i²] E[h_j²])`` over all tokens of unlabelled prompts, with x
   the layer's input in the base model. Moments are not centred, because a delta has no bias to
   absorb a mean. Sign and scale are gauges: directions are scaled to ``E[h²] = 1``, and
   anticorrelated ones are flipped before merging.
3. Zip: merge the two most correlated features, within a task or across tasks, until R are left. A
   merged feature is the mean of its members, and so are its correlations.
4. With the merge matrix M ``[R, N]`` (means) and the unmerge matrix U ``[N, R]`` (copies),
   ``D = scale * [B_1 … B_T] U M [A_1; …; A_T]``; a scale of 1 / T averages the models.

The paper zips a whole network layer by layer. Here only the inside of each delta is zipped, because
all tasks share the base around it.
"""

from collections.abc import Mapping

import torch

from ..adapters import AdapterSet
from ..errors import MergeError
from ..factors import Factors, svd
from ..hooks import captured_inputs
from ..progress import progress
from ..stored import MergedAdapters
from ..training import CalibrationData, batch
from .assemble import merge_modules
from .checks import check_rank
from .registry import merging_method

NAME = "zipit"

BATCH = 16  # prompts


@merging_method(name=NAME, paper="ZipIt!, arXiv 2305.03053", needs="data", storage="R (m + n)")
def zipit(
    adapters: AdapterSet,
    data: CalibrationData,
    *,
    scale: float | None = None,
    rank: int | None = None,
) -> MergedAdapters:
    """Merge into one A and one B per module.

    Args:
        adapters: T adapters, of any ranks and target modules.
        data: the base model and prompts of every task.
        scale: weight of every task; defaults to 1 / T, as in the paper.
        rank: R; defaults to the adapters' largest rank. With the sum of the ranks nothing is
            zipped, and the result is Task Arithmetic.

    Raises:
        MergeError: ``rank`` is below 1, or above the sum of ranks of every module.
    """
    check_rank(rank)
    size, weight = rank or adapters.max_rank, 1 / len(adapters.tasks) if scale is None else scale
    directions = {module: singular_directions(adapters, module) for module in adapters.shapes}
    largest = max(len(x.a) for x in directions.values())
    if size > largest:
        raise MergeError(f"rank is {size}, expected at most {largest}, the directions of a module")
    moments = second_moments(directions, adapters, data)

    def merge(adapters: AdapterSet, module: str) -> Factors:
        a, b = directions[module]
        power = moments[module].diagonal().clamp_min(1e-30).sqrt()
        merge_matrix = zipped(moments[module] / power.outer(power), size)
        copies = merge_matrix.sign().T
        merged = merge_matrix @ (a.double() / power[:, None])
        return Factors(merged, weight * (b.double() * power) @ copies)

    return merge_modules(NAME, adapters, merge, size, {"scale": weight})


def singular_directions(adapters: AdapterSet, module: str) -> Factors:
    """Return all deltas' singular directions as balanced A ``[N, in]`` and B ``[out, N]``."""
    parts = [svd(x.factors[module]) for x in adapters.adapters if module in x.factors]
    a = torch.cat([x.s.sqrt()[:, None] * x.vh for x in parts])
    return Factors(a, torch.cat([x.u * x.s.sqrt() for x in parts], dim=1))


def second_moments(
    directions: Mapping[str, Factors], adapters: AdapterSet, data: CalibrationData
) -> dict[str, torch.Tensor]:
    """Sum ``h hᵀ [N, N]`` of ``h = A x`` over all prompts' tokens, per module, in float64."""
    examples, model = data.prompts(adapters.tasks), data.model
    moments = {m: torch.zeros(len(x.a), len(x.a)).double() for m, x in directions.items()}
    weights = {module: x.a.to(model.device) for module, x in directions.items()}
    with torch.no_grad():
        for first in progress(range(0, len(examples), BATCH), "merge"):
            chosen = examples[first : first + BATCH]
            ids = batch(chosen).ids
            lengths = torch.tensor([[len(prompt)] for prompt, _ in chosen])
            inside = (torch.arange(ids.shape[1]) < lengths).to(model.device)
            with captured_inputs(model, directions) as inputs:
                model(input_ids=ids.to(model.device), use_cache=False)
            for module, x in inputs.items():
                h = (x[inside] @ weights[module].T).double().cpu()
                moments[module] += h.T @ h
    return moments


def zipped(correlations: torch.Tensor, size: int) -> torch.Tensor:
    """Return the merge matrix M ``[R, N]``: merged features as signed means of N features.

    Args:
        correlations: ``[N, N]``, with 1 on the diagonal.
        size: R; with R >= N all features stay.
    """
    moments = correlations.clone()  # moments of the sums of each feature's members
    members = torch.eye(len(moments), dtype=moments.dtype)
    while len(moments) > size:
        power = moments.diagonal().clamp_min(1e-30).sqrt()
        likeness = (moments / power.outer(power)).abs().triu(1)
        kept, other = divmod(int(likeness.argmax()), len(moments))
        sign = -1 if moments[kept, other] < 0 else 1
        members[kept] += sign * members[other]
        moments[kept] += sign * moments[other]
        moments[:, kept] += sign * moments[:, other]
        rest = torch.arange(len(moments)) != other
        moments, members = moments[rest][:, rest], members[rest]
    return members / members.abs().sum(1, keepdim=True)
