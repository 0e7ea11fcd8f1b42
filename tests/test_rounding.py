"""Weights are rounded to integers, with the layers' inputs if there are any."""

import pytest
import torch
from torch import nn
from torchao.quantization import IntxWeightOnlyConfig, quantize_
from torchao.quantization.granularity import PerGroup

from hydraopt.lowering.backends import find_backend
from hydraopt.rounding import (
    IntegerWeight,
    Texts,
    gptq,
    int8_activations,
    inverse_factor,
    round_half_quadratic,
    round_layers,
    round_nearest,
    search_scales,
)
from hydraopt.rounding.head import PROJECTED, nearest_distances, round_head
from hydraopt.schemes import SCHEMES, Grid

GRIDS = [scheme.weights for scheme in SCHEMES.values() if scheme.weights]
INT4 = Grid(4, 32)
SEEDS = range(5)


def correlated(count: int, width: int) -> torch.Tensor:
    """Inputs ``[count, width]`` whose channels correlate and differ in size."""
    mixed = torch.randn(count, width // 4) @ torch.randn(width // 4, width)
    return (mixed + torch.randn(count, width)) * torch.rand(width)


def output_error(weight: torch.Tensor, rounded: IntegerWeight, x: torch.Tensor) -> float:
    """Relative error of ``x W^T``."""
    wanted = x @ weight.T
    return float((x @ rounded.dense().T - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_values_are_within_the_levels_and_scales_positive(grid):
    weight = torch.randn(24, 128)
    weight[0] = 0
    x = correlated(500, 128)
    moments = x.T @ x
    for rounded in (
        round_nearest(weight, grid),
        gptq(weight, moments.diagonal(), inverse_factor(moments), grid),
    ):
        assert rounded.values.dtype == torch.int8 and rounded.values.shape == weight.shape
        assert grid.low <= rounded.values.min() and rounded.values.max() <= grid.high
        assert rounded.scales.shape == (24, 1 if grid.group is None else 128 // grid.group)
        assert (rounded.scales > 0).all()
        assert not rounded.dense()[0].any()
        if grid.group:  # as XNNPACK stores them
            assert torch.equal(rounded.scales, rounded.scales.bfloat16().float())


@pytest.mark.parametrize("seed", SEEDS)
def test_searched_scales_have_less_error_than_the_smallest_that_clip_nothing(seed):
    torch.manual_seed(seed)
    weight, importance = torch.randn(16, 64), torch.rand(64)

    def error(scales: torch.Tensor) -> torch.Tensor:
        groups = weight.view(16, 2, 32)
        values = (groups / scales[..., None]).round().clamp(-8, 7) * scales[..., None]
        return ((values - groups).square() * importance.view(2, 32)).sum(-1)

    widest = weight.view(16, 2, 32).abs().amax(-1) / 7
    searched = search_scales(weight, importance, INT4)
    assert error(searched).sum() < error(widest).sum()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_later_columns_make_up_for_earlier_ones(grid, seed):
    torch.manual_seed(seed)
    weight, x = torch.randn(32, 128), correlated(1000, 128)
    moments = x.T @ x
    nearest = round_nearest(weight, grid, moments.diagonal())
    found = gptq(weight, moments.diagonal(), inverse_factor(moments), grid)
    assert output_error(weight, found, x) < 0.9 * output_error(weight, nearest, x)


def test_inputs_that_do_not_correlate_are_rounded_to_the_nearest():
    weight, moments = torch.randn(32, 128), torch.eye(128)
    found = gptq(weight, moments.diagonal(), inverse_factor(moments), INT4)
    for part, wanted in zip(found, round_nearest(weight, INT4), strict=True):
        assert torch.equal(torch.as_tensor(part), torch.as_tensor(wanted))


def test_rows_do_not_depend_on_each_other():
    weight, x = torch.randn(8, 64), correlated(200, 64)
    moments = x.T @ x
    importance, factor = moments.diagonal(), inverse_factor(moments)
    whole = gptq(weight, importance, factor, INT4).values
    assert torch.equal(whole[2:5], gptq(weight[2:5], importance, factor, INT4).values)


def test_inputs_that_are_always_zero_or_the_same_are_no_crash():
    x = correlated(100, 64)
    x[:, 3] = 0
    x[:, 5] = x[:, 4]
    moments = x.T @ x
    found = gptq(torch.randn(8, 64), moments.diagonal(), inverse_factor(moments), INT4)
    assert found.dense().isfinite().all()


@pytest.mark.parametrize("scheme", ["8da4w", "8da8w"])
def test_activations_are_rounded_as_the_quantised_layer_does(scheme):
    layer, x = nn.Linear(64, 16), 3 * torch.randn(1, 7, 64) + 1
    rounded = round_nearest(layer.weight.detach(), SCHEMES[scheme].weights)
    wanted = nn.functional.linear(int8_activations(x), rounded.dense(), layer.bias)
    find_backend().quantize(layer, {layer: rounded})
    torch.testing.assert_close(layer(x), wanted, atol=2e-3, rtol=0)


class TwoLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(64, 96), nn.Linear(96, 64)
        self.unused = nn.Linear(64, 8)

    def forward(self, x):
        return self.second(self.first(x).relu())


def texts(count: int, length: int, *, padding: int = 0, tasks=None) -> Texts:
    """``count`` texts of ``length`` tokens and some padding; layers do not read the ids."""
    kept = (torch.arange(length + padding) < length).expand(count, -1)
    return Texts(kept.long(), kept, torch.tensor(tasks or [0] * count))


def rounded_layers(x: torch.Tensor, given: Texts) -> tuple[nn.Module, dict]:
    torch.manual_seed(1)
    model = TwoLayers()
    grids = dict.fromkeys((model.first, model.second, model.unused), INT4)
    return model, round_layers(grids, given, lambda: model(x))


def test_a_layer_is_rounded_for_the_outputs_of_rounded_layers():
    """With them the second layer's error is less than if it were rounded for float inputs."""
    x = correlated(6 * 50, 64).view(6, 50, 64)
    model, rounded = rounded_layers(x, texts(6, 50))
    assert [*rounded] == [model.first, model.second, model.unused]
    for layer, weight in rounded.items():
        assert torch.equal(layer.weight, weight.dense())
    with torch.no_grad():
        inputs = int8_activations(model.first(int8_activations(x)).relu()).flatten(0, 1)
    moments = inputs.T @ inputs
    torch.manual_seed(1)
    wanted = TwoLayers().second.weight.detach()
    again = gptq(wanted, moments.diagonal(), inverse_factor(moments), INT4)
    assert (again.values == rounded[model.second].values).float().mean() > 0.999


def test_padding_changes_nothing():
    x = correlated(3 * 40, 64).view(3, 40, 64)
    _, whole = rounded_layers(x, texts(3, 40))
    padded = torch.cat([x, 100 * torch.randn(3, 7, 64)], 1)
    _, cut = rounded_layers(padded, texts(3, 40, padding=7))
    for first, second in zip(whole.values(), cut.values(), strict=True):
        assert (first.values == second.values).float().mean() > 0.999


def test_a_task_counts_once_however_many_texts_it_has():
    x = correlated(2 * 40, 64).view(2, 40, 64)
    _, once = rounded_layers(x, texts(2, 40, tasks=[0, 1]))
    twice = torch.cat([x[:1], x[:1], x[1:]])
    _, repeated = rounded_layers(twice, texts(3, 40, tasks=[0, 0, 1]))
    for first, second in zip(once.values(), repeated.values(), strict=True):
        assert (first.values == second.values).float().mean() > 0.999


def test_a_layer_whose_inputs_are_all_zero_is_rounded_without_them():
    model, rounded = rounded_layers(torch.zeros(2, 5, 64), texts(2, 5))
    torch.manual_seed(1)
    wanted = round_nearest(TwoLayers().first.weight.detach(), INT4)
    assert torch.equal(rounded[model.first].values, wanted.values)


@pytest.mark.parametrize("width", [32, 256], ids=["measured", "projected"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_heads_rows_that_nearly_equal_another_are_rounded_to_the_nearest(seed, width):
    torch.manual_seed(seed)
    weight, x = torch.randn(96, width), correlated(400, width)
    weight[48:] = weight[7] + 0.002 * torch.randn(48, width)
    moments = x.T @ x
    given = weight, moments.diagonal(), inverse_factor(moments), INT4
    found, plain, by_inputs = round_head(*given), round_nearest(weight, INT4), gptq(*given)
    alike = torch.tensor([row == 7 or row >= 48 for row in range(96)])
    assert torch.equal(found.dense()[alike], plain.dense()[alike])
    assert torch.equal(found.dense()[~alike], by_inputs.dense()[~alike])
    assert not torch.equal(plain.dense()[~alike], by_inputs.dense()[~alike])


@pytest.mark.parametrize("width", [32, 256], ids=["measured", "projected"])
def test_distances_to_the_nearest_row(width, monkeypatch):
    monkeypatch.setattr("hydraopt.rounding.head.PART", 40)
    torch.manual_seed(0)
    rows = torch.randn(100, width)
    rows[50:] = rows[:50] + torch.logspace(-2, 0, 50)[:, None] * torch.randn(50, width)
    distances = torch.cdist(rows, rows).fill_diagonal_(torch.inf).amin(1)
    assert distances.max() > 50 * distances.min()
    rtol = 0.5 if width > PROJECTED else 1e-2
    torch.testing.assert_close(nearest_distances(rows), distances, rtol=rtol, atol=0)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("rows", "factor"), [(3, 1), (2500, 1), (2500, 33.9411)])
def test_an_embedding_has_the_integers_of_torchaos_hqq(bits, rows, factor):
    """In parts, of which there are several here; the last iteration is that of all rows."""
    torch.manual_seed(rows)
    weight = 0.02 * torch.randn(rows, 1024)
    weight[0] = 0
    found = round_half_quadratic(weight, Grid(bits, 32), factor)
    config = IntxWeightOnlyConfig(
        weight_dtype=getattr(torch, f"int{bits}"),
        granularity=PerGroup(32),
        intx_choose_qparams_algorithm="hqq_scale_only",
    )
    layer = nn.Embedding.from_pretrained(weight * factor)
    quantize_(layer, config, lambda module, _: isinstance(module, nn.Embedding))
    assert torch.equal(found.values, layer.weight.qdata)
    assert torch.equal(found.scales, layer.weight.scale)
