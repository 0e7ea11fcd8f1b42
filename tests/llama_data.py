"""Adapters and data of the tiny Llama, and Adam without the library's loop."""

import torch
from conftest import BASE_ID, delta, tiny_llama

from hydraopt.adapters import AdapterSet, LoraAdapter
from hydraopt.factors import Factors
from hydraopt.merging import METHODS
from hydraopt.training import CalibrationData
from hydraopt.zoo.model import new_tokenizer

SHAPES = {
    "model.layers.0.mlp.down_proj": (64, 96),
    "model.layers.0.mlp.gate_proj": (96, 64),
    "model.layers.0.self_attn.q_proj": (64, 64),
    "model.layers.0.self_attn.v_proj": (32, 64),
}
PAIRS = [("one", "eins"), ("two four", "zwei"), ("three", "drei!")]
NEEDING = [name for name, method in METHODS.items() if method.needs != "nothing"]
QUICK = {name: {"steps": 3} for name in ("adamerging", "supermerge", "surgery")}
QUICK |= {"doge": {"steps": 20}}  # as far as its change counts
TEXT = [5, 17, 99, 200, 3, 42, 7]


def llama_set(tasks=4, rank=3, size=0.3, seed=0) -> AdapterSet:
    """Random adapters of the tiny Llama."""
    generator = torch.Generator().manual_seed(seed)

    def factors(rows, columns):
        a = torch.randn(rank, columns, generator=generator)
        return Factors(a, size * torch.randn(rows, rank, generator=generator) / rank)

    return AdapterSet(
        LoraAdapter(f"task{i}", BASE_ID, {name: factors(*s) for name, s in SHAPES.items()})
        for i in range(tasks)
    )


def data_of(adapters, model=None) -> CalibrationData:
    examples = {task: [(task + p, a) for p, a in PAIRS] for task in adapters.tasks}
    return CalibrationData(model or tiny_llama(), new_tokenizer(), examples)


def logits_of(model, ids=TEXT):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0]


def dense(adapters, module):
    return torch.stack([delta(x.factors[module]).float() for x in adapters.adapters])


def tokens(data, answers):
    """Every example by itself: tokens of the prompt, and of what is predicted after it."""
    for pairs in data.examples.values():
        for prompt, answer in pairs:
            end = [*answer.encode(), 257] if answers else []
            yield list(prompt.encode()), end


def assert_same(first, second, tolerance=1e-4):
    for module in first.modules:
        wanted, found = (delta(x.factors("task0", module)) for x in (first, second))
        assert (found - wanted).norm() <= tolerance * wanted.norm(), module


def descend(start, coefficients, loss, steps, rate):
    """Adam as published (weights of norm-1 gradients at most), without the library's loop."""
    w = start.clone().requires_grad_()
    first, second = torch.zeros_like(w), torch.zeros_like(w)
    for step in range(1, steps + 1):
        (gradient,) = torch.autograd.grad(loss(coefficients(w)), w)
        gradient = gradient / max(1.0, gradient.norm().item())
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        change = first / (1 - 0.9**step) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
        w = (w - rate * change).detach().requires_grad_()
    return coefficients(w).detach()
