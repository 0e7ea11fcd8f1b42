"""What Python answers, for the JVM tests of ``android_demo/host``."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from hydraopt.runtime import Sampling, Session
from hydraopt.runtime.sampling import probabilities

LONGEST = 512  # tokens of an answer in the app


def write_answers(bundle: Path, asked: Sequence[tuple[str, str, bool]], path: Path) -> None:
    """Record what Python's session answers to ``(task, prompt, chat)``."""
    session = Session.open(bundle)
    records = []
    for task, prompt, chat in asked:
        session.switch(task)
        prompt_ids = session.encode(prompt, chat=chat)
        ids = list(session.generate_ids(prompt_ids))
        session.reset()
        logits = session.forward(prompt_ids).tolist()
        records.append(
            {
                "task": task,
                "prompt": prompt,
                "chat": chat,
                "prompt_ids": prompt_ids,
                "ids": ids,
                "text": session.decode(ids),
                "logits": logits,
            }
        )
    path.write_text(json.dumps(records))


def write_texts(bundle: Path, asked: Sequence[tuple[str, str]], path: Path) -> None:
    """Record what Python's session answers to ``(task, prompt)``, as lines of words in base64."""
    session = Session.open(bundle)
    lines = []
    for task, prompt in asked:
        session.switch(task)
        words = (task, prompt, session.generate(prompt, LONGEST))
        lines.append(" ".join(base64.b64encode(word.encode()).decode() for word in words))
    path.write_text("\n".join(lines))


def write_mixtures(bundle: Path, path: Path) -> None:
    """Record what Python's session answers with the base, a scaled task and a mixture.

    ``kept`` follows the prompt that the base read.
    """
    session, records = Session.open(bundle), []
    prompt_ids, kept = session.encode("hello"), [9, 8]
    for weights in ({}, {"beta": 0.7}, {"alpha": 0.6, "gamma": -1.0}):
        asked = weights or None
        session.switch(asked)
        record = {"weights": weights, "prompt_ids": prompt_ids, "kept": kept}
        record["logits"] = session.forward(prompt_ids).tolist()
        record["ids"] = list(session.generate_ids(prompt_ids))
        session.switch(None)
        session.forward(prompt_ids)
        session.switch(asked, keep_cache=True)
        record["kept_logits"] = session.forward(kept).tolist()
        records.append(record)
    path.write_text(json.dumps(records))


def write_probabilities(path: Path) -> None:
    """Record what tokens are drawn from, for logits with and without ties."""
    generator = torch.Generator().manual_seed(0)
    records = []
    for ties in (False, True):
        for temperature in (0.3, 1.0, 2.5):
            for top_k in (None, 1, 7, 500):
                for top_p in (1.0, 0.9, 0.5, 0.01):
                    logits = 3 * torch.randn(300, generator=generator)
                    logits = logits.round() if ties else logits
                    sampling = Sampling(temperature, top_p, top_k)
                    records.append(
                        {
                            "logits": logits.tolist(),
                            "temperature": temperature,
                            "top_k": top_k,
                            "top_p": top_p,
                            "probabilities": probabilities(logits, sampling).tolist(),
                        }
                    )
    path.write_text(json.dumps(records))
