"""Prompt and answer pairs from JSON lines."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import DataError

# task -> (prompt, answer) pairs
Examples = Mapping[str, Sequence[tuple[str, str]]]


def read_examples(
    path: Path, tasks: Sequence[str], *, labels: bool = True
) -> dict[str, list[tuple[str, str | None]]]:
    """Read ``{"task": …, "prompt": …, "answer": …}`` lines, some for each of ``tasks``.

    Without ``labels`` answers need not be there, and those that are become None.

    Raises:
        DataError: an unreadable file, a broken line (with its number), or a task without lines.
    """
    pairs: dict[str, list[tuple[str, str | None]]] = {task: [] for task in tasks}
    keys = ("task", "prompt", "answer") if labels else ("task", "prompt")
    for number, fields in read_lines(path, keys):
        if fields["task"] not in pairs:
            raise DataError(
                f"{path}, line {number}: no adapter is named {fields['task']!r}; "
                f"there are: {', '.join(tasks)}"
            )
        pairs[fields["task"]].append((fields["prompt"], fields["answer"] if labels else None))
    if missing := [task for task, examples in pairs.items() if not examples]:
        raise DataError(f"{path} has no line for task {missing[0]!r}, expected some for each task")
    return pairs


def read_lines(path: Path, keys: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Numbered JSON objects, one a line, whose ``keys`` all are non-empty strings.

    Raises:
        DataError: an unreadable or empty file, or a broken line (with its number).
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # U+2028 and the like are text
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path} ({error}); expected UTF-8 JSON lines") from error
    objects = [(n, _object(path, n, line, keys)) for n, line in enumerate(lines, 1) if line.strip()]
    if not objects:
        raise DataError(f"{path} is empty, expected JSON lines with {', '.join(keys)}")
    return objects


def _object(path: Path, number: int, line: str, keys: Sequence[str]) -> dict[str, str]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}, line {number} is no JSON ({error}); correct it") from None
    for key in keys:
        if not isinstance(fields, dict) or not isinstance(fields.get(key), str) or not fields[key]:
            raise DataError(
                f"{path}, line {number} has no text {key!r}, expected an object with "
                f"{', '.join(keys)}; correct it"
            )
    return fields
