"""What all recipes do: load a base, compress its adapters, lower both, check the program, tell it.

A recipe names a family of models and calls :func:`main`; see README.md beside it.
"""

import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from latency import forward_ms
from peft import LoraConfig, get_peft_model
from rich.console import Console
from rich.status import Status
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.utils import logging

from hydraopt.adapters import read_adapters
from hydraopt.cli.ending import run_command_line
from hydraopt.cli.options import ChatArguments, Json, Overwrite
from hydraopt.cli.parsing import arguments
from hydraopt.cli.records import of_bundle
from hydraopt.cli.report import show
from hydraopt.compression import compress
from hydraopt.errors import UsageError
from hydraopt.lowering.against_base import verify_against
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.settings import ExportSettings
from hydraopt.progress import shown_by
from hydraopt.runtime import verify
from hydraopt.zoo.model import EOS_ID, PAD_ID, VOCAB_SIZE, new_tokenizer

TINY_TASKS, TINY_RANK, TINY_BUDGET = ("first", "second"), 8, "50%"
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
TINY_DECODER = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": None,
    "eos_token_id": EOS_ID,
    "pad_token_id": PAD_ID,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True)
class Family:
    """A family of models.

    Attributes:
        base: hub id of the model that people deploy.
        tiny: the family's architecture at a size that exports in seconds.
        targets: names of the layers that adapters change, as PEFT takes them.
        auto: transformers' class for what adapters are trained on.
        pretrained: transformers' class for what the base was saved as; None: as ``auto`` says.
        task_type: PEFT's name of what adapters give.
        head: name of the classifier that every task has of its own; None: tasks have none.
        chat_template: of the tiny tokenizer, in the family's form; None: it has none.
    """

    base: str
    tiny: PreTrainedConfig
    targets: Sequence[str]
    auto: type = AutoModelForCausalLM
    pretrained: type | None = None
    task_type: str | None = None
    head: str | None = None
    chat_template: str | None = None


def main(family: Family) -> None:
    """The command line of a recipe."""

    def command(
        output: Annotated[Path, typer.Option("--output", "-o", help="Bundle to write.")],
        adapters: Annotated[
            list[str] | None, typer.Option(help="PEFT directory or hub id; repeat it.")
        ] = None,
        base: Annotated[str, typer.Option(help="Base model: directory or hub id.")] = family.base,
        budget: Annotated[str, typer.Option(help="Of the adapters' fp16 bytes, or bytes.")] = "7%",
        quantize: Annotated[
            Literal["none", "8da4w"], typer.Option(help="Quantisation of the base.")
        ] = "8da4w",
        max_length: Annotated[
            int | None, typer.Option(help="Positions of the KV cache; tokens of a text.")
        ] = None,
        tiny: Annotated[
            bool, typer.Option("--tiny", help="Random weights and adapters, no download.")
        ] = False,
        chat_template_arg: ChatArguments = None,
        overwrite: Overwrite = False,
        as_json: Json = False,
    ) -> None:
        if bool(adapters) == tiny:
            raise UsageError("pass --adapters DIR for each of your adapters, or --tiny alone")
        chat = arguments("--chat-template-arg", chat_template_arg or ())
        source = tiny_family(family) if tiny else nullcontext((base, adapters))
        share = TINY_BUDGET if tiny else budget
        settings = ExportSettings(quantize, max_length=max_length)
        with source as (where, sources), _status() as status, shown_by(status.update):
            record = export(
                sources, where, output, share, settings, chat_arguments=chat, overwrite=overwrite
            )
        show(record, as_json)

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.simplefilter("ignore", FutureWarning)  # of libraries, about each other
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(help=f"Export {family.base} with adapters.")(command)
    run_command_line(partial(app, standalone_mode=False))


def export(
    sources: Sequence[str],
    base: str,
    output: Path,
    budget: str,
    settings: ExportSettings,
    *,
    chat_arguments: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> dict[str, object]:
    """Compress, lower, and compare the model with transformers and the program with PyTorch.

    Args:
        sources: PEFT directories or hub ids.
        base: directory or hub id of their base model.
        output: bundle to write.
        budget: as ``hydraopt compress --budget`` takes it.
        settings: of the export.
        chat_arguments: variables of the base's chat template by name.
        overwrite: replace an existing ``output``.

    Returns:
        What ``hydraopt info`` tells of the bundle; what XNNPACK did not take; the program's largest
        relative error beside PyTorch; milliseconds of a call of ``forward`` here.

    Raises:
        HydraOptError: as the steps raise it.
    """
    adapters = read_adapters(sources)
    coded = compress(adapters, budget)
    exported = export_bundle(
        coded, base, output, settings, chat_arguments=chat_arguments, overwrite=overwrite
    )
    verify(output)
    table = next(iter(exported.delegation.values()))
    return of_bundle(output) | {
        "outside_xnnpack": {x.operator: x.not_delegated for x in table if x.not_delegated},
        "program_error": verify_against(output, base).program_error,
        "forward_ms": forward_ms(output),
    }


def _status() -> Status:
    # a console of its own: what the exporter prints on the standard error is caught
    return Console(file=sys.stderr).status("Compressing the adapters")


@contextmanager
def tiny_family(family: Family) -> Iterator[tuple[str, list[str]]]:
    """A base of the family with random weights and two adapters by PEFT, for the block only."""
    with tempfile.TemporaryDirectory(prefix="hydraopt-") as directory:
        base = Path(directory) / "base"
        torch.manual_seed(0)
        pretrained = family.pretrained or family.auto
        pretrained.from_config(family.tiny, dtype=torch.float32).save_pretrained(base)
        tiny_tokenizer(family.chat_template).save_pretrained(base)
        yield (
            str(base),
            [
                random_adapter(Path(directory) / task, base, family, classes)
                for classes, task in enumerate(TINY_TASKS, 2)
            ],
        )


def tiny_tokenizer(chat_template: str | None) -> PreTrainedTokenizerBase:
    """Bytes as tokens."""
    tokenizer = new_tokenizer()
    tokenizer.chat_template = chat_template
    return tokenizer


def random_adapter(directory: Path, base: Path, family: Family, classes: int) -> str:
    """A LoRA adapter that PEFT writes, large enough to change every answer; with a head, if any."""
    model = family.auto.from_pretrained(
        base, trust_remote_code=False, **({"num_labels": classes} if family.head else {})
    )
    config = LoraConfig(
        task_type=family.task_type,
        r=TINY_RANK,
        lora_alpha=2 * TINY_RANK,
        target_modules=list(family.targets),
        modules_to_save=[family.head] if family.head else None,
        init_lora_weights=False,
    )
    get_peft_model(model, config).save_pretrained(directory, save_embedding_layers=False)
    return str(directory)
