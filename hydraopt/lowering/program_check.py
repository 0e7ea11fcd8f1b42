"""Compare a bundle's program with the quantised module that it was lowered from."""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch

from ..errors import LoweringError
from ..formats.manifest import Manifest
from ..formats.models import CausalLm
from ..progress import report_stage
from ..runtime import Session
from .check import Expected, relative_error
from .kinds import Probe

logger = logging.getLogger(__name__)

Answers = Mapping[str, torch.Tensor]
"""Task -> last row of the outputs for one probe, ``[1, n]``."""


def program_answers(bundle: Path, tasks: Collection[str], probe: Probe) -> Answers:
    """Run a bundle's program on a probe, for some tasks.

    Raises:
        BundleError: the bundle is damaged, or the program does not run.
    """
    report_stage("Running the program")
    session, answers = Session.open(bundle), {}
    for task in tasks:
        session.switch(task)
        answers[task] = _answer(session, probe)
    return answers


def last_row(outputs: torch.Tensor, manifest: Manifest, task: str) -> torch.Tensor:
    """Return the last row of outputs, cut to the task's classes if it has a head, ``[1, n]``."""
    return outputs[-1:, : manifest.classes.get(task)]


def check_program(bundle: Path, expected: Sequence[Expected]) -> float | None:
    """Return the largest relative error of a new bundle's program; None without references.

    Args:
        bundle: its directory.
        expected: outputs of the quantised module that was lowered.

    Raises:
        LoweringError: an error exceeds the scheme's limit.
    """
    if not expected:
        return None
    manifest = Manifest.read(bundle)
    answers = program_answers(bundle, [x.task for x in expected], expected[0].probe)
    references = {x.task: last_row(x.outputs, manifest, x.task) for x in expected}
    error, limit = largest_error(answers, references), manifest.loosest_scheme.limit
    logger.info("deviation of the program from PyTorch with the same weights: %.1e", error)
    if not error <= limit:
        raise LoweringError(
            f"the exported program differs from PyTorch with the same weights by {error:.1e}, "
            f"expected at most {limit:.0e}; this model cannot be exported right, but without this "
            "check",
            options=["no_check"],
        )
    return error


def largest_error(answers: Answers, references: Answers) -> float:
    """Return the largest relative error of answers against references of the same tasks."""
    return max(relative_error(answers[task], references[task]) for task in answers)


def _answer(session: Session, probe: Probe) -> torch.Tensor:
    if isinstance(session.manifest.model, CausalLm):
        return session.forward(probe.inputs[0].tolist())[None]
    given = probe.inputs[0]
    output = session.run(given if given.is_floating_point() else given.tolist())
    return output.reshape(-1, output.shape[-1])[-1:]
