"""Prompts for calibration, from JSON lines."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import DataError
from ..reading import shortened
from ..training import read_lines


def read_prompts(path: Path, tasks: Sequence[str]) -> dict[str, list[tuple[str, None]]]:
    """Read ``{"prompt": …, "task": …}`` lines; a line without a task is for all of them.

    Every task's prompts come with None in place of an answer.

    Raises:
        DataError: an unreadable file, a broken line (with its number), or a task without prompts.
    """
    prompts: dict[str, list[tuple[str, None]]] = {task: [] for task in tasks}
    for number, fields in read_lines(path, ("prompt",)):
        task = fields.get("task")
        if task is not None and (not isinstance(task, str) or task not in prompts):
            raise DataError(
                f"{path}, line {number}: no adapter is named {shortened(task)!r}; "
                f"there are: {', '.join(tasks)}"
            )
        for name in tasks if task is None else [task]:
            prompts[name].append((fields["prompt"], None))
    if missing := [task for task, pairs in prompts.items() if not pairs]:
        raise DataError(f"{path} has no prompt for task {missing[0]!r}, expected some for each")
    return prompts
