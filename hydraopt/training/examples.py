"""Read prompt and answer pairs from JSON lines."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import DataError
from ..reading import UnreadableError, file_text, json_value, shortened

LARGEST = 1 << 30  # bytes of a file
FIELDS = ("task", "prompt", "answer")  # of a line

# task -> (prompt, answer) pairs
Examples = Mapping[str, Sequence[tuple[str, str]]]


def read_examples(path: Path, tasks: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """Read lines of ``{"task": …, "prompt": …, "answer": …}``, at least one per task.

    Raises:
        DataError: the file is unreadable, a line is invalid (with its number), or a task has none.
    """
    lines = _of_every_task(path, tasks, FIELDS)
    return {task: [(x["prompt"], x["answer"]) for x in own] for task, own in lines.items()}


def read_unanswered(path: Path, tasks: Iterable[str]) -> dict[str, list[tuple[str, None]]]:
    """Read lines of ``{"task": …, "prompt": …}``, at least one per task; answers are None.

    Raises:
        DataError: as for :func:`read_examples`.
    """
    lines = _of_every_task(path, tasks, FIELDS[:2])
    return {task: [(x["prompt"], None) for x in own] for task, own in lines.items()}


def _of_every_task(
    path: Path, tasks: Iterable[str], keys: Sequence[str]
) -> dict[str, list[dict[str, str]]]:
    lines = lines_by_task(path, tasks, keys)
    if missing := [task for task, own in lines.items() if not own]:
        raise DataError(f"{path} has no line for task {missing[0]!r}, expected some for each task")
    return {task: [fields for _, fields in own] for task, own in lines.items()}


def lines_by_task(
    path: Path, tasks: Iterable[str], keys: Sequence[str] = FIELDS
) -> dict[str, list[tuple[int, dict[str, str]]]]:
    """Read numbered lines as :func:`read_lines` and group them by task; a task may have none.

    Raises:
        DataError: as for :func:`read_lines`; or a line is of a task that is not in ``tasks``.
    """
    lines: dict[str, list[tuple[int, dict[str, str]]]] = {task: [] for task in tasks}
    for number, fields in read_lines(path, keys):
        if fields["task"] not in lines:
            raise DataError(
                f"{path}, line {number}: no task is named {shortened(fields['task'])!r}; "
                f"expected one of {', '.join(lines)}"
            )
        lines[fields["task"]].append((number, fields))
    return lines


def read_lines(path: Path, keys: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Read numbered JSON objects, one per line, in which all ``keys`` are non-empty strings.

    Raises:
        DataError: the file is unreadable or empty, or a line is invalid (with its number).
    """
    try:
        lines = file_text(path, LARGEST).split("\n")  # splitlines() would split at U+2028 too
    except UnreadableError as error:
        raise DataError(f"cannot read {path} ({error}); expected UTF-8 JSON lines") from None
    objects = [(n, _object(path, n, line, keys)) for n, line in enumerate(lines, 1) if line.strip()]
    if not objects:
        raise DataError(f"{path} is empty, expected JSON lines with {', '.join(keys)}")
    return objects


def _object(path: Path, number: int, line: str, keys: Sequence[str]) -> dict[str, str]:
    try:
        fields = json_value(line)
    except UnreadableError as error:
        raise DataError(f"{path}, line {number} is not JSON ({error}); correct it") from None
    for key in keys:
        if not isinstance(fields, dict) or not isinstance(fields.get(key), str) or not fields[key]:
            raise DataError(
                f"{path}, line {number} has no text {key!r}, expected an object with "
                f"{', '.join(keys)}; correct it"
            )
    return fields
