"""Compare the device's outputs with this machine's, for every task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import ProfilingError
from ..formats.manifest import Manifest
from ..progress import progress
from ..runtime import Session
from .script import Section
from .variants import Variant

PROMPT, TOKENS = 8, 3
LOGITS = "logits"


@dataclass(frozen=True)
class Expected:
    """This machine's outputs for one task.

    Attributes:
        tokens: the prompt, then its greedy continuation.
        logits: after the prompt and after each further token, ``[1 + TOKENS, vocabulary]``.
    """

    tokens: tuple[int, ...]
    logits: torch.Tensor


def expected_outputs(bundle: Path, manifest: Manifest) -> dict[str, Expected]:
    """Compute every task's outputs on this machine.

    Raises:
        BundleError: the bundle is damaged.
    """
    session = Session.open(bundle)
    model = manifest.causal_lm
    length = min(PROMPT, model.prefill_length)
    prompt = tuple(7919 * i % model.vocabulary for i in range(1, length + 1))
    expected = {}
    for task in progress(session.tasks, "outputs here"):
        session.switch(task)
        tokens, logits = prompt, [session.forward(prompt).clone()]
        for _ in range(TOKENS):
            tokens = (*tokens, int(logits[-1].argmax()))
            logits.append(session.forward(tokens[-1:]).clone())
        expected[task] = Expected(tokens, torch.stack(logits))
    return expected


def output_script(variant: Variant, expected: Mapping[str, Expected]) -> list[Section]:
    """Write every task's logits: the prompt in one call, then this machine's tokens one by one."""
    script = [Section("", ["threads 1"]), Section("", variant.load)]
    for switch, task in zip(variant.switches, expected.values(), strict=False):
        script.append(Section("", switch))
        script.append(Section("", [f"prefill {','.join(map(str, task.tokens[:-TOKENS]))}"]))
        script.append(Section("", [f"logits {LOGITS}"]))
        for token in task.tokens[-TOKENS:]:
            script.append(Section("", [f"append {token}", f"logits {LOGITS}"]))
    return script


def compare_outputs(
    content: bytes, expected: Mapping[str, Expected], tolerance: float, where: str
) -> dict:
    """Compare the device's logits, float32 in :func:`output_script`'s order, with this machine's.

    Args:
        content: bytes of the file of logits.
        expected: this machine's outputs by task.
        tolerance: largest difference, as a share of a task's largest logit.
        where: device and variant, for messages.

    Returns:
        The comparison's record for the results.

    Raises:
        ProfilingError: a task's logits differ by more, or are not finite.
    """
    logits = torch.frombuffer(bytearray(content), dtype=torch.float32)
    reference = torch.stack([task.logits for task in expected.values()])
    if logits.numel() != reference.numel():
        raise ProfilingError(
            f"{where} gave {logits.numel()} logits, expected {reference.numel()}; build the runner "
            "again from its source"
        )
    scale = reference.abs().amax((1, 2))
    difference = ((logits.view_as(reference) - reference).abs().amax((1, 2)) / scale).tolist()
    shares = dict(zip(expected, difference, strict=True))
    _check(shares, tolerance, where)
    worst = max(shares, key=shares.__getitem__)
    return {
        "tasks": len(shares),
        "positions": TOKENS + 1,
        "tolerance": tolerance,
        "largest_difference": shares[worst],
        "worst_task": worst,
    }


def _check(shares: Mapping[str, float], tolerance: float, where: str) -> None:
    wrong: Sequence[str] = [task for task, share in shares.items() if not share <= tolerance]
    if wrong:
        raise ProfilingError(
            f"{where} computes other logits than this machine for {len(wrong)} of {len(shares)} "
            f"tasks (first: {wrong[0]}, {shares[wrong[0]]:.2%} of the largest logit, expected at "
            f"most {tolerance:.2%}); its times mean nothing"
        )
