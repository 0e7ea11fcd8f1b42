"""Score a program of ExecuTorch's own exporter as ``hydraopt evaluate`` scores a bundle."""

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

import torch
from in_turns import Program, load
from inputs import first_position
from transformers import PreTrainedTokenizerBase

from hydraopt.evaluation.generated import chrf
from hydraopt.evaluation.program.scores import CHRF, EXACT, NATS, TOKENS, Scores, judged


def score_program(
    program: Path, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]]
) -> Scores:
    """Scores on (prompt, answer) pairs of the task whose adapter is in the weights."""
    (method,) = load(Program("export_llm", program, first_position))

    def logits(ids: Sequence[int], position: int) -> torch.Tensor:
        inputs = (torch.tensor([[*ids]]), torch.tensor([position]))
        return method.execute(inputs)[0].flatten().clone()

    end = tokenizer.eos_token_id
    right, nats, tokens, texts = 0, 0.0, 0, []
    encoded = [
        (tokenizer(prompt).input_ids, [*tokenizer(x, add_special_tokens=False).input_ids, end])
        for prompt, x in pairs
    ]
    longest = max(len(answer) for _, answer in encoded)
    for prompt, answer in encoded:
        first = logits(prompt, 0)
        later = [logits([x], len(prompt) + n) for n, x in enumerate(answer[:-1])]
        hits, lost = judged(torch.stack([first, *later]), answer, [end])
        right, nats, tokens = right + hits, nats + lost, tokens + len(answer)
        text, found = [], logits(prompt, 0)
        for n in range(longest):
            text.append(int(found.argmax()))
            if text[-1] == end or n == longest - 1:
                break
            found = logits(text[-1:], len(prompt) + n)
        texts.append(tokenizer.decode([*takewhile(lambda x: x != end, text)]))
    answers = [answer for _, answer in pairs]
    exact = sum(a == b for a, b in zip(texts, answers, strict=True)) / len(texts)
    return {TOKENS: right / tokens, NATS: nats / tokens, EXACT: exact, CHRF: chrf(texts, answers)}
