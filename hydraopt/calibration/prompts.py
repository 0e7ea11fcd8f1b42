"""Read prompts for calibration from JSON lines."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import DataError
from ..reading import shortened
from ..training import read_lines


def read_prompts(path: Path, tasks: Sequence[str]) -> dict[str, list[tuple[str, None]]]:
    """Read lines of ``{"prompt": …, "task": …}``; a prompt without a task is used for all tasks.

    Returns task -> (prompt, None) pairs; None stands for the unknown answer.

    Raises:
        DataError: the file is unreadable, a line is invalid (with its number), or a task has no
            prompts.
    """
    prompts: dict[str, list[tuple[str, None]]] = {task: [] for task in tasks}
    for number, fields in read_lines(path, ("prompt",)):
        task = fields.get("task")
        if task is not None and (not isinstance(task, str) or task not in prompts):
            raise DataError(
                f"{path}, line {number}: no task is named {shortened(task)!r}; "
                f"expected one of {', '.join(tasks)}"
            )
        for name in tasks if task is None else [task]:
            prompts[name].append((fields["prompt"], None))
    if missing := [task for task, pairs in prompts.items() if not pairs]:
        raise DataError(f"{path} has no prompt for task {missing[0]!r}, expected some for each")
    return prompts
