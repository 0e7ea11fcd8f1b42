"""Compare texts of one program: SmolLM2 answers questions in transformers, Python and on devices.

    python tests/benchmarks/texts.py WORK [--base BASE]

WORK is the directory of against_export_llm.py, whose program without slots is used. The reference
is transformers' greedy generation with its own attention, cache and chat template; linear layers
and embedding are quantised as in the program, with scales in bfloat16 as in XNNPACK. The same .pte
answers in Python, with the runner on this machine, and on emulated devices: tier a, and tier b, an
emulated arm64 processor that answers one of the questions.

Different orders of float32 additions can move an activation to the next int8 level and flip a near
tie between tokens. Therefore tokens are counted up to the first difference in each text, and the
Kullback-Leibler divergence from the reference is measured along its texts, in nats per token. The
control is transformers with the same quantised model and its other attention implementation.
"""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from against_export_llm import Workshop, program_settings
from torch.nn.functional import kl_div, log_softmax
from transformers import AutoTokenizer, PreTrainedModel

from hydraopt.formats.manifest import FORWARD, PROGRAM
from hydraopt.lowering.base_model import load_base
from hydraopt.lowering.bundle import write_bundle
from hydraopt.lowering.chat import read_chat
from hydraopt.lowering.lowered import Lowered
from hydraopt.lowering.plan import make_plan
from hydraopt.lowering.program import Program
from hydraopt.lowering.quantization import quantize, round_base
from hydraopt.lowering.static import StaticAdapter
from hydraopt.lowering.tokenizer import stop_tokens
from hydraopt.models import end_tokens
from hydraopt.profiling import emulator
from hydraopt.profiling.adb import Device
from hydraopt.profiling.host import Host
from hydraopt.profiling.runner import Runner, Workspace, device_runner, host_runner, run_script
from hydraopt.runtime import Session

QUESTIONS = (
    "What is the capital of France?",
    "Name three colours of the rainbow.",
    "Write one sentence about the sea.",
    "How many days has a week?",
    "Translate 'good morning' into Spanish.",
    "What do bees make?",
    "Who wrote Romeo and Juliet?",
    "Why is the sky blue?",
)
TOKENS = 24
FEW, FEW_TOKENS = 1, 6  # on an emulated processor, which takes minutes for them
SCRIPT_SECONDS = 3000
CONTROL = "eager"  # attention; the reference's is "sdpa"


class Text(NamedTuple):
    """A prompt's tokens, and the reference's answer without the token that ends it."""

    prompt: list[int]
    answer: list[int]


def bundle_of(base: Path, program: Path, directory: Path) -> Path:
    """The program without slots as a bundle."""
    if not (directory / PROGRAM).exists():
        directory.mkdir(exist_ok=True)
        alone = StaticAdapter(str(base), "none", ("base",), 1, 0, lambda _: ())
        plan = make_plan(alone, str(base), program_settings())
        write_bundle(directory, plan, Lowered(Program(program.read_bytes(), {}), plan.settings))
    return directory


def quantized(base: Path) -> PreTrainedModel:
    """What the program computes, in PyTorch."""
    loaded = load_base(str(base), str(base))
    settings = loaded.kind.resolve(program_settings(), loaded.model)
    quantize(loaded.model, settings, round_base(loaded.model, settings))
    return loaded.model


def reference(base: Path, model: PreTrainedModel) -> list[Text]:
    """What transformers generates after each question."""
    tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    ends = stop_tokens(tokenizer, end_tokens(model), read_chat(tokenizer)[1])
    texts = []
    for question in QUESTIONS:
        turn = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(
            turn, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
        with torch.no_grad():
            found = model.generate(**prompt, max_new_tokens=TOKENS, do_sample=False)
        ids = prompt["input_ids"][0].tolist()
        answer = takewhile(lambda token: token not in ends, found[0, len(ids) :].tolist())
        texts.append(Text(ids, list(answer)))
    return texts


@torch.no_grad()
def along(model: PreTrainedModel, texts: Sequence[Text]) -> list[torch.Tensor]:
    """Of each text, the log-probabilities ``[n, vocabulary]`` at the answer's n tokens."""
    found = []
    for prompt, answer in texts:
        logits = model(torch.tensor([prompt + answer[:-1]]), use_cache=False).logits[0]
        found.append(log_softmax(logits[len(prompt) - 1 :], -1))
    return found


def along_in_session(session: Session, texts: Sequence[Text]) -> list[torch.Tensor]:
    """The same of a session."""
    found = []
    for prompt, answer in texts:
        session.reset()
        logits = [session.forward(ids) for ids in (prompt, *([token] for token in answer[:-1]))]
        found.append(log_softmax(torch.stack(logits), -1))
    return found


def divergences(session: Session, model: PreTrainedModel, texts: Sequence[Text]) -> dict:
    """Nats per token along the reference's texts, of the program and of the control."""
    wanted = along(model, texts)
    model.set_attn_implementation(CONTROL)
    control = along(model, texts)
    name = f"transformers, {CONTROL} attention"
    record = compared(name, [x.argmax(-1).tolist() for x in control], texts)
    found = {"python": along_in_session(session, texts), name: control}
    nats = {who: divergence(x, wanted) for who, x in found.items()}
    print("nats per token from the reference:", nats)
    return {name: record, "nats": nats}


def divergence(found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> float:
    """Mean Kullback-Leibler divergence of ``found`` from ``wanted``."""
    return kl_div(
        torch.cat(found), torch.cat(wanted), log_target=True, reduction="batchmean"
    ).item()


def in_python(session: Session, texts: Sequence[Text]) -> list[list[int]]:
    """Tokens of a session, from the questions as text: its chat template is the manifest's."""
    found = []
    for question, text in zip(QUESTIONS, texts, strict=True):
        ids = session.encode(question, chat=True)
        assert ids == text.prompt, "the manifest's chat template is not the tokenizer's"
        found.append(list(session.generate_ids(ids, TOKENS)))
    return found


def with_runner(
    workspace: Workspace, runner: Runner, bundle: Path, texts: Sequence[Text], tokens: int
) -> list[list[int]]:
    """Tokens of the C++ runner, after the same prompts."""
    workspace.put({**runner.files, PROGRAM: bundle / PROGRAM})
    script = ["threads 2", f"program {PROGRAM}", f"method {FORWARD}"]
    for prompt, _ in texts:
        script += [f"prefill {','.join(map(str, prompt))}", f"decode {tokens - 1}"]
    records = run_script(workspace, runner, script, SCRIPT_SECONDS)[3:]
    return [
        [first["token"], *then["tokens"]]
        for first, then in zip(records[::2], records[1::2], strict=True)
    ]


def equal_tokens(found: Sequence[int], wanted: Sequence[int]) -> int:
    """How many tokens are equal before the first that is not."""
    pairs = zip(found, wanted, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(found), len(wanted)))


def compared(name: str, found: Sequence[Sequence[int]], texts: Sequence[Text]) -> dict:
    """Count and print equal texts and tokens."""
    counts = [equal_tokens(x, text.answer) for x, text in zip(found, texts, strict=True)]
    whole = sum(count == len(text.answer) for count, text in zip(counts, texts, strict=True))
    print(f"{name}: {whole} of {len(texts)} texts equal; equal tokens {counts}", flush=True)
    return {"texts": len(texts), "equal": whole, "tokens": counts}


@contextmanager
def places() -> Iterator[dict]:
    """Workspace and runner of each place that this machine has."""
    with emulator.running("a") as a, emulator.running("b") as b:
        devices = {"tier a": Device(a.serial), "tier b, arm64": Device(b.serial)}
        yield {
            "runner on this machine": (Host(), host_runner()),
            **{name: (x, device_runner(x.facts().abi)) for name, x in devices.items()},
        }


def main(
    work: Annotated[Path, typer.Argument(help="Directory that keeps the exported programs.")],
    base: Annotated[Path | None, typer.Option(help="SmolLM2 by default.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON to write.")] = None,
) -> None:
    """Answer everywhere and count equal tokens."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    if base is None:
        from smollm2_weights import smollm2

        base = smollm2()
    program = Workshop(base, work).program("bare").pte
    session = Session.open(bundle_of(base, program, work / "bare-bundle"))
    session.switch("base")
    model = quantized(base)
    texts = reference(base, model)
    tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    for question, text in zip(QUESTIONS, texts, strict=True):
        print(f"{question}  {tokenizer.decode(text.answer, skip_special_tokens=True)!r}")
    results = {
        "python": compared("python", in_python(session, texts), texts),
        **divergences(session, model, texts),
    }
    with places() as found:
        for name, (device, runner) in found.items():
            few, tokens = (FEW, FEW_TOKENS) if "arm64" in name else (len(texts), TOKENS)
            with device.workspace() as workspace:
                got = with_runner(workspace, runner, session.bundle, texts[:few], tokens)
            asked = [Text(prompt, answer[:tokens]) for prompt, answer in texts[:few]]
            results[name] = compared(name, got, asked)
    if output:
        output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
