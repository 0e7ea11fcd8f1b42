"""Test examples of a bundle's tasks, encoded as its program takes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import BundleError, DataError, TaskError
from ...formats.manifest import TOKENIZER, Manifest
from ...formats.models import CausalLm, Encoder
from ...reading import shortened
from ...runtime import Session
from ...runtime.inputs import check_ids
from ...training import lines_by_task

NumberedLines = Sequence[tuple[int, Mapping[str, str]]]
Lines = Mapping[str, NumberedLines]  # by task


@dataclass(frozen=True)
class Example:
    """An encoded example.

    Attributes:
        prompt: token ids of the prompt.
        answer: token ids of the answer and, if the bundle has end tokens, the first of them; for a
            classifier the class alone.
        text: the answer as given.
    """

    prompt: Sequence[int]
    answer: Sequence[int]
    text: str


Examples = Mapping[str, Sequence[Example]]  # by task


def read_lines_of(path: Path, manifest: Manifest) -> Lines:
    """Read JSON lines of ``task``, ``prompt`` and ``answer``, of some or all tasks of a bundle.

    Returns:
        The lines of each task that has some.

    Raises:
        DataError: the file is unreadable, or a line is invalid or of an unknown task.
    """
    return {task: lines for task, lines in lines_by_task(path, manifest.tasks).items() if lines}


def end_tokens(manifest: Manifest) -> list[int]:
    """Return the tokens that end a text; none for a classifier."""
    model = manifest.model
    return [x for x in model.eos_ids if x < model.vocabulary] if isinstance(model, CausalLm) else []


def encode_examples(
    session: Session, path: Path, lines: Lines, *, chat: bool = False
) -> dict[str, list[Example]]:
    """Encode examples as training does: the prompt as a whole text, the answer as what follows it.

    Args:
        session: an open bundle of a language model or a classifier of texts.
        path: file of the lines, for messages.
        lines: lines by task.
        chat: put each prompt as one user turn into the base's chat template.

    Raises:
        BundleError: the bundle's outputs cannot be compared with answers.
        TaskError: the bundle lacks a task, or has no chat template.
        DataError: a prompt or an answer has no tokens, unknown ones or too many, or an answer is
            no class.
    """
    model = _model_of(session)
    if chat:
        session.encode("", chat=True)
    return {task: _encoded(session, model, task, path, own, chat) for task, own in lines.items()}


def _model_of(session: Session) -> CausalLm | Encoder:
    """Return the record of a model of texts whose outputs can be compared with answers."""
    manifest, bundle = session.manifest, session.bundle
    model = manifest.model
    if not isinstance(model, CausalLm | Encoder):
        raise BundleError(
            f"{bundle} takes images, expected a model of texts; score it through Session.run"
        )
    if isinstance(model, Encoder) and (model.pooling or model.per_token):
        gives = "embeddings" if model.pooling else "classes of every token"
        raise BundleError(
            f"{bundle} gives {gives}, expected texts or one class for a text; score it through "
            "Session.run"
        )
    if TOKENIZER not in manifest.files:
        raise BundleError(
            f"{bundle} has no tokenizer, expected one for the examples' texts; export it again "
            "with a base model that has a fast one"
        )
    return model


def _encoded(
    session: Session,
    model: CausalLm | Encoder,
    task: str,
    path: Path,
    lines: NumberedLines,
    chat: bool,
) -> list[Example]:
    session.switch(task)
    classes = 0 if isinstance(model, CausalLm) else len(session.run([0]))
    examples = []
    for number, fields in lines:
        where, text = f"{path}, line {number}", fields["answer"]
        try:
            prompt = session.encode(fields["prompt"], chat=chat)
            check_ids(prompt, model)
            answer = [_class_of(text, classes)] if classes else _answer(session, text)
        except TaskError as error:
            raise DataError(f"{where}: {error}") from None
        _check_length(where, prompt if classes else [*prompt, *answer], model)
        examples.append(Example(prompt, answer, text))
    return examples


def _answer(session: Session, text: str) -> list[int]:
    """Encode what follows a prompt: a text, then the end."""
    ids = session.encode(text, special=False) + end_tokens(session.manifest)[:1]
    check_ids(ids, session.manifest.causal_lm)
    return ids


def _class_of(answer: str, classes: int) -> int:
    if answer not in map(str, range(classes)):
        found = shortened(answer)
        raise TaskError(f"answer {found!r}, expected a class, 0 to {classes - 1}; correct it")
    return int(answer)


def _check_length(where: str, ids: Sequence[int], model: CausalLm | Encoder) -> None:
    if len(ids) > model.max_length:
        generates = isinstance(model, CausalLm)
        parts = "prompt and answer" if generates else "the prompt"
        limit = "the KV cache" if generates else "the longest text"
        raise DataError(
            f"{where}: {len(ids)} tokens of {parts}, expected at most {model.max_length}, the "
            f"length of {limit}; shorten it, or export with a longer context",
            options=["max_length"],
        )
