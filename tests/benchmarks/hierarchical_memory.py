"""Peak memory of SuperMerge: all tasks at once against groups.

    python tests/benchmarks/hierarchical_memory.py

64 random adapters of r = 64 of a random Llama (d = 256, 4 layers, all linear layers): 4096
directions per module. Every variant in a process of its own. The growth is what merging needs on
top of the model and the adapters, its result included.
"""

import subprocess
import sys
import time
from typing import Annotated

import torch
import typer
from merge_memory import peak_mib

TASKS, RANK, LAYERS, HIDDEN, INNER = 64, 64, 4, 256, 512
VARIANTS = [(None, None), (4, None), (2, None), (4, RANK)]  # group, rank


def random_model():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=258,
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=64,
    )
    return LlamaForCausalLM(config).eval()


def random_adapters(model):
    from hydraopt.adapters import AdapterSet, LoraAdapter
    from hydraopt.factors import Factors

    layers = {
        name: module.weight.shape
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    }
    return AdapterSet(
        LoraAdapter(
            f"task{task}",
            "random",
            {
                name: Factors(torch.randn(RANK, columns), 1e-3 * torch.randn(rows, RANK))
                for name, (rows, columns) in layers.items()
            },
        )
        for task in range(TASKS)
    )


def measure(group: int | None, rank: int | None) -> None:
    """Merge once and print the time and the growth of peak memory."""
    from hydraopt.merging.supermerge import supermerge
    from hydraopt.training import CalibrationData
    from hydraopt.zoo.model import new_tokenizer

    model = random_model()
    adapters = random_adapters(model)
    examples = {task: [("what is it? ", "an answer of sixteen")] for task in adapters.tasks}
    data = CalibrationData(model, new_tokenizer(), examples)
    before, start = peak_mib(), time.perf_counter()
    supermerge(adapters, data, steps=2, group=group, rank=rank)
    label = f"group {group or TASKS}, {'exact' if rank is None else f'rank {rank}'}"
    growth, seconds = peak_mib() - before, time.perf_counter() - start
    print(f"{label:20s} {seconds:6.1f} s   peak +{growth:5.0f} MiB", flush=True)


def main(only: Annotated[int | None, typer.Option(hidden=True)] = None) -> None:
    """Measure all variants, each in a process of its own."""
    if only is not None:
        measure(*VARIANTS[only])
        return
    for number in range(len(VARIANTS)):
        subprocess.run([sys.executable, __file__, "--only", str(number)], check=True)


if __name__ == "__main__":
    typer.run(main)
