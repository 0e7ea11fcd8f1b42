"""Small real inputs: adapters written by PEFT itself, a random Llama, merged adapters."""

import logging
import os
import shutil

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything reads it: no test asks a hub
os.environ.setdefault("OMP_NUM_THREADS", "1")  # several processes run tests at a time

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM
from warm import WarmPython

from hydraopt.adapters import AdapterSet, LoraAdapter, read_adapters
from hydraopt.factors import Factors
from hydraopt.lowering.settings import ExportSettings
from hydraopt.merging.hydraopt import hydraopt
from hydraopt.stored import MergedAdapters
from hydraopt.zoo.model import new_tokenizer

pytest_plugins = ["run_rules", "isolation", "devices", "own_outputs", "exports", "android_build"]
# their assertions tell values, as in a test file
pytest.register_assert_rewrite("llama_data", "saved_bases")
torch.set_num_threads(1)

BASE_ID = "tests/tiny-llama"
FLOAT32 = ExportSettings("none")
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """What a test draws does not depend on the tests before it."""
    torch.manual_seed(0)


def tiny_llama(**sizes: int) -> LlamaForCausalLM:
    torch.manual_seed(0)
    tiny = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 32,
    }
    config = LlamaConfig(
        vocab_size=258, num_hidden_layers=1, eos_token_id=257, bos_token_id=None, **tiny | sizes
    )
    return LlamaForCausalLM(config).eval()


def save_adapter(
    directory: Path,
    seed: int = 1,
    base_id: str = BASE_ID,
    base_model: LlamaForCausalLM | None = None,
    **config,
) -> torch.nn.Module:
    """Write a random adapter with PEFT and return the PEFT model."""
    settings = {"r": 4, "lora_alpha": 8, "target_modules": TARGETS, "init_lora_weights": False}
    lora = LoraConfig(task_type="CAUSAL_LM", **(settings | config))
    model = get_peft_model(base_model or tiny_llama(), lora)
    model.peft_config["default"].base_model_name_or_path = base_id
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(directory, save_embedding_layers=False)
    return model.eval()


def random_set(
    tasks: int,
    rank: int = 3,
    shapes: tuple = ((20, 12), (8, 16)),
    spread: float = 0.3,
    seed: int = 0,
) -> AdapterSet:
    """Adapters whose A's are ``spread`` away from a common one, as after one initialisation."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=generator)

    common = [randn(rank, columns) for _, columns in shapes]
    return AdapterSet(
        LoraAdapter(
            f"task{task}",
            BASE_ID,
            {
                f"layer{index}": Factors(
                    common[index] + spread * randn(rank, columns), randn(rows, rank)
                )
                for index, (rows, columns) in enumerate(shapes)
            },
        )
        for task in range(tasks)
    )


def delta(factors: Factors) -> torch.Tensor:
    return factors.b.double() @ factors.a.double()


def squared_error(adapters: AdapterSet, merged: MergedAdapters) -> float:
    """Sum over tasks and modules of the squared error of the delta."""
    return sum(
        (delta(factors) - delta(merged.factors(adapter.name, module))).pow(2).sum().item()
        for adapter in adapters.adapters
        for module, factors in adapter.factors.items()
    )


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """Messages of the package's warnings."""
    messages, handler = [], logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("hydraopt").addHandler(handler)
    yield messages
    logging.getLogger("hydraopt").removeHandler(handler)


@pytest.fixture(scope="session")
def commands() -> Iterator[WarmPython]:
    """Runs scripts that end, crash or are killed, where the command line is imported already."""
    process = WarmPython("hydraopt.cli.app")
    yield process
    process.close()


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("base")
    tiny_llama().save_pretrained(directory)
    new_tokenizer().save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def adapter_dirs(tmp_path_factory) -> list[Path]:
    root = tmp_path_factory.mktemp("adapters")
    directories = [root / name for name in ("alpha", "beta", "gamma")]
    for seed, directory in enumerate(directories):
        save_adapter(directory, seed)
    return directories


@pytest.fixture(scope="session")
def merged(adapter_dirs, tmp_path_factory) -> MergedAdapters:
    """As loaded from disk: factors rounded to fp16, like those in packs."""
    directory = tmp_path_factory.mktemp("merged") / "tiny"
    hydraopt(read_adapters(adapter_dirs), rank=8).save(directory)
    return MergedAdapters.load(directory)


@pytest.fixture
def copied(bundle, tmp_path) -> Path:
    """A bundle that a test may change; of the file's own bundle if it has one."""
    return shutil.copytree(bundle, tmp_path / "copy")
