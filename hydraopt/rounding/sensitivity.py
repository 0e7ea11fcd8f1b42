"""Estimate how much a change of each layer changes what a model predicts.

To second order the Kullback-Leibler divergence is half the mean square of ``g d``, summed over a
text: d is the change of a layer's output, and g the gradient of the log-likelihood of outcomes that
the model itself predicts. This is half the change's square in the Fisher information; counting
inputs and gradients as independent, as K-FAC does, would be far off for tokens such as a text's
first one, whose inputs are large and whose gradients are small.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from ..progress import report_stage
from .layers import Texts

AT_ONCE = 512  # tokens of a pass, whose activations stay in memory
SAMPLES = 128  # of outcomes of a text; the relative error is about sqrt(2 / SAMPLES)

Change = Callable[[torch.Tensor], torch.Tensor]


def divergences(
    changes: Mapping[nn.Module, Change],
    texts: Texts,
    run: Callable[[slice], torch.Tensor],
    *,
    predicts: bool,
) -> dict[nn.Module, float]:
    """Run a model forward and backward on texts, a few at a time.

    Args:
        changes: layers of the model, the token embedding among them, whose weights need no
            gradient; a layer's inputs -> how much its outputs would change.
        texts: the texts; all tasks count alike.
        run: runs the model, in float32, on some of the texts, and returns its outputs:
            ``[n, S, d]`` or, pooled, ``[n, d]``.
        predicts: whether outputs are logits, from which outcomes are drawn. Other outputs are
            means of a normal distribution of variance 1: half their squared change counts.

    Returns:
        Divergence in nats of each layer's change alone; zero for a layer that does not run.
    """
    weights = texts.weights[:, None] * texts.kept
    weights /= weights.sum()
    at_once = max(1, AT_ONCE // weights.shape[1])
    draws = -(-SAMPLES // len(weights))
    generator = torch.Generator().manual_seed(0)
    totals = dict.fromkeys(changes, 0.0)
    for start in list(range(0, len(weights), at_once)) * draws:
        report_stage(f"Measuring layers on text {start + 1} of {len(weights)}")
        part = weights[start : start + at_once]
        with _products(changes, len(part)) as products, torch.enable_grad():
            outputs = run(slice(start, start + at_once))
            _likelihood(outputs, part, generator, predicts=predicts).backward()
        for layer, product in products.items():
            totals[layer] += float(product.square().sum()) / (2 * draws)
    return totals


@contextmanager
def _products(
    changes: Mapping[nn.Module, Change], count: int
) -> Iterator[dict[nn.Module, torch.Tensor]]:
    """Collect ``g d`` of each layer while the block runs on ``count`` texts, ``[count]``."""
    products = {layer: torch.zeros(count) for layer in changes}

    def after(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor):
        if len(output) != count:  # what all texts share, such as relative positions
            return None
        with torch.no_grad():
            change = changes[layer](inputs[0])
        first = not output.requires_grad
        found = output.detach().requires_grad_() if first else output

        def add(gradient: torch.Tensor) -> None:
            products[layer] += (gradient * change).flatten(1).sum(1)

        found.register_hook(add)
        return found.clone() if first else None  # a leaf must not change in place

    with ExitStack() as stack:
        for layer in changes:
            stack.callback(layer.register_forward_hook(after).remove)
        yield products


def _likelihood(
    outputs: torch.Tensor, weights: torch.Tensor, generator: torch.Generator, *, predicts: bool
) -> torch.Tensor:
    """Draw outcomes, and sum their log-likelihoods times the square roots of their weights."""
    rows = outputs.flatten(0, -2)
    if predicts:
        likelihoods = rows.log_softmax(-1)
        drawn = torch.multinomial(likelihoods.detach().exp(), 1, generator=generator)
        scores = likelihoods.gather(1, drawn)[:, 0]
    else:
        scores = (rows * torch.randn(rows.shape, generator=generator)).sum(-1)
    by_row = weights if outputs.dim() == 3 else weights.sum(1)
    return scores @ by_row.flatten().sqrt()
