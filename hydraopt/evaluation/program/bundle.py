"""Evaluate a bundle beside the base without quantisation, or beside another bundle."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from ...errors import BundleError, check_task
from ...formats.models import CausalLm
from ...runtime import Session
from .examples import Examples, encode_examples, read_lines_of
from .runs import FloatRun, ProgramRun, Run
from .scores import Scored, has_chrf, score

PROGRAM, FLOAT, AGAINST = "program", "float", "against"  # whose scores

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """Scores of a bundle.

    Attributes:
        bundle: its directory.
        examples: task -> number of examples, of the tasks that have some.
        scored: ``program`` -> scores of the bundle's program; if asked for, ``float`` -> those of
            the base in float32 with the unmerged adapters, ``against`` -> those of another bundle.
    """

    bundle: str
    examples: Mapping[str, int]
    scored: Mapping[str, Scored]

    @property
    def kept(self) -> dict[str, float | None]:
        """Task -> S: 100 times the share of correct tokens (or classes) of ``program`` / ``float``.

        None where ``float`` has none right; empty without ``float``.
        """
        if FLOAT not in self.scored:
            return {}
        right, before = self.scored[PROGRAM].right, self.scored[FLOAT].right
        return {
            task: 100 * (x / before[task]) if before[task] else None for task, x in right.items()
        }

    @property
    def mean_kept(self) -> float | None:
        """The mean of S over the tasks that have one; None if there is none."""
        known = [x for x in self.kept.values() if x is not None]
        return mean(known) if known else None

    @property
    def worst(self) -> dict[str, str]:
        """``program``, … -> its worst task; ``s`` -> the task with the lowest S, if any has one."""
        found = {name: scored.worst for name, scored in self.scored.items()}
        known = {task: x for task, x in self.kept.items() if x is not None}
        return found | ({"s": min(known, key=known.__getitem__)} if known else {})

    def record(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        tasks = {
            task: {
                "examples": count,
                **{name: dict(scored.tasks[task]) for name, scored in self.scored.items()},
                **({"s": self.kept[task]} if self.kept else {}),
            }
            for task, count in self.examples.items()
        }
        means: dict[str, Any] = {name: scored.means for name, scored in self.scored.items()}
        means |= {"s": self.mean_kept} if self.kept else {}
        return {"bundle": self.bundle, "tasks": tasks, "mean": means, "worst": self.worst}


def evaluate(
    bundle: str | Path,
    data: Path,
    *,
    chat: bool = False,
    base: str | None = None,
    adapters: Sequence[str] = (),
    against: str | Path | None = None,
) -> Evaluation:
    """Score the tasks of a bundle that have examples.

    Args:
        bundle: directory of a bundle of a language model or a classifier of texts.
        data: JSON lines of ``task``, ``prompt`` and ``answer``; a classifier's answer is the number
            of the class.
        chat: put each prompt as one user turn into the base's chat template.
        base: directory or hub id of the base, to score it in float32 with ``adapters``, too.
        adapters: PEFT directories or hub ids of the scored tasks; ``NAME=SOURCE`` if the task has
            another name.
        against: another bundle to score on the same examples.

    Raises:
        BundleError: a bundle is damaged, or its outputs cannot be compared with answers.
        DataError: the file is unreadable, a line is invalid or too long, or a task has no adapter.
        TaskError: ``against`` or the bundle lacks a task.
        AdapterError, LoweringError: adapters or base are not the bundle's.
    """
    session = Session.open(bundle)
    lines = read_lines_of(data, session.manifest)
    examples = encode_examples(session, data, lines, chat=chat)
    work: dict[str, tuple[Run, Examples]] = {PROGRAM: (ProgramRun(session), examples)}
    if base is not None:
        work[FLOAT] = FloatRun.load(session, base, adapters, lines), examples
    if against is not None:
        other = _alike(Session.open(against), session, lines)
        work[AGAINST] = ProgramRun(other), encode_examples(other, data, lines, chat=chat)
    if not has_chrf() and isinstance(session.manifest.model, CausalLm):
        logger.warning("chrF is left out: it needs sacrebleu, pip install 'hydraopt[frontier]'")
    scored = {name: score(run, own) for name, (run, own) in work.items()}
    return Evaluation(str(bundle), {task: len(own) for task, own in examples.items()}, scored)


def _alike(other: Session, session: Session, tasks: Iterable[str]) -> Session:
    """Return ``other`` after checking that it does the same tasks."""
    kind, expected = other.manifest.model.kind, session.manifest.model.kind
    if kind != expected:
        raise BundleError(
            f"{other.bundle} is of kind {kind}, expected {expected} as {session.bundle}; compare "
            "bundles of one kind"
        )
    for task in tasks:
        check_task(task, other.tasks, f"compare {session.bundle} with a bundle of the same tasks")
    return other
