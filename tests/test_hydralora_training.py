"""HydraLoRA: the formula, what is trained, the number of experts, the command."""

import json

import pytest
import torch
from command_line import fails, hydraopt, names, succeeds
from conftest import BASE_ID, tiny_llama
from trained_llama import HYDRA, ROWS, hydra_llama
from transformers import Trainer, TrainingArguments

from hydraopt.errors import TrainingError
from hydraopt.hydralora import HydraConfig, HydraLinear, HydraLora
from hydraopt.training import Schedule, answer_loss, batch, fit, loop
from hydraopt.training.experts import choose_experts, elbow
from hydraopt.training.train_hydralora import add_hydralora, parameters


def test_a_layer_computes_the_formula():
    torch.manual_seed(0)
    linear = torch.nn.Linear(10, 7)
    layer = HydraLinear(linear, HYDRA).eval()
    torch.nn.init.normal_(layer.b)
    x = torch.randn(2, 5, 10)
    for text in range(2):
        for token in range(5):
            v = x[text, token]
            scores = (layer.route @ v).exp()
            wanted = linear.weight @ v + linear.bias
            for i in range(3):
                expert = layer.b[:, 4 * i : 4 * (i + 1)]
                wanted = wanted + 6 / 4 * scores[i] / scores.sum() * (expert @ (layer.a @ v))
            torch.testing.assert_close(layer(x)[text, token], wanted)


def test_training_starts_from_the_base_model():
    model, layers = hydra_llama()
    ids = torch.tensor([[5, 17, 99]])
    assert torch.equal(model(ids).logits, tiny_llama()(ids).logits)
    for layer in layers.values():
        bound = layer.a.shape[1] ** -0.5  # of Kaiming's uniform distribution with a = sqrt(5)
        for parameter in (layer.a, layer.route):
            assert 0.5 * bound < parameter.abs().max() <= bound
        assert not layer.b.any()


def test_dropout_is_on_the_input_of_a_only_and_in_training_only():
    torch.manual_seed(0)
    layer = HydraLinear(torch.nn.Linear(8, 8), HydraConfig(2, 2, dropout=0.9))
    torch.nn.init.normal_(layer.b)
    x = torch.randn(1, 50, 8)
    still = layer.eval()(x)
    assert torch.equal(layer(x), still)
    moved = layer.train()(x)
    unchanged = torch.isclose(moved, layer.linear(x)).all(-1)  # all of x was dropped for A
    assert 0.2 < unchanged.float().mean() < 0.7
    assert not torch.equal(moved, still)


def test_targets_match_like_pefts_and_only_the_adapter_is_trainable():
    model, layers = hydra_llama(0.1)
    assert set(layers) == {"model.layers.0.self_attn.q_proj", "model.layers.0.mlp.down_proj"}
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable == {f"{name}.{kind}" for name in layers for kind in ("a", "b", "route")}
    answer_loss(model, batch(ROWS)).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None and bool(parameter.grad.any())) == (name in trainable)


def test_the_plain_loop_trains_it():
    model, layers = hydra_llama()
    frozen = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    before = answer_loss(model, batch(ROWS)).item()
    model.train()
    schedule = Schedule(steps=40, rate=2e-2, batch=6)
    fit(parameters(layers), lambda rows: answer_loss(model, batch(rows)), ROWS, schedule)
    assert answer_loss(model.eval(), batch(ROWS)).item() < 0.9 * before
    for name, parameter in frozen.items():
        assert torch.equal(model.get_parameter(name), parameter)


def test_transformers_trainer_trains_it(tmp_path):
    model, layers = hydra_llama()
    texts = batch(ROWS)
    data = [{"input_ids": i, "labels": x} for i, x in zip(texts.ids, texts.labels, strict=True)]
    arguments = TrainingArguments(
        str(tmp_path),
        max_steps=30,
        learning_rate=2e-2,
        per_device_train_batch_size=6,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    before = answer_loss(model, texts).item()
    Trainer(model, arguments, train_dataset=data).train()
    assert answer_loss(model.eval(), texts).item() < 0.9 * before
    HydraLora.from_layers(layers, HYDRA, BASE_ID).save(tmp_path / "out")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"experts": 1}, "experts is 1, expected at least 2; one expert is a plain LoRA"),
        ({"experts": 2, "rank": 0}, "rank is 0, expected at least 1"),
        ({"experts": 2, "alpha": 0.0}, "alpha is 0.0, expected a positive number"),
        ({"experts": 2, "dropout": 1.0}, "dropout is 1.0, expected 0 or more and below 1"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, message):
    with pytest.raises(TrainingError, match=message):
        HydraConfig(**settings)


def test_unknown_targets_name_what_exists():
    with pytest.raises(
        TrainingError, match=r"'query' matches no layer .* linear layers: .*k_proj, lm_head"
    ):
        add_hydralora(tiny_llama(), ["query"], HYDRA)
    with pytest.raises(TrainingError, match=r"self_attn is a LlamaAttention, expected nn\.Linear"):
        add_hydralora(tiny_llama(), ["self_attn"], HYDRA)


def test_experts_are_the_kinds_of_prompts():
    words = (("money", "eur"), ("date", "long"), ("unit", "meter"), ("delta", "week"))
    prompts = [f"{a} {i} {b}" for i in range(30) for a, b in words]
    assert choose_experts(prompts) == 4
    assert choose_experts(prompts, seed=3) == 4
    assert choose_experts(["1", "2", "3"]) == 2
    assert choose_experts(["same words"] * 9) == 2
    assert elbow([10, 6, 2, 1.5, 1]) == 2


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.jsonl"
    lines = [{"prompt": f"{'abcd'[i % 4]} {i}=", "answer": str(i), "task": "t"} for i in range(24)]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_the_command_trains_and_resumes(base, data, tmp_path, monkeypatch):
    arguments = ("train", "hydralora", "--base", base, "--data", data, "--targets", "q_proj,v_proj")
    arguments += ("--experts", 2, "--rank", 2, "--steps", 40, "--batch", 4, "--rate", 0.01)
    record = json.loads(succeeds(*arguments, "-o", tmp_path / "whole", "--json"))
    assert (record["type"], record["experts"], record["modules"], record["steps"]) == (
        *("hydralora", 2, 2, 40),
    )
    assert names(tmp_path) == {"data.jsonl", "whole"}  # no checkpoint is left

    monkeypatch.setattr(
        loop._TrainingState, "evaluate", interrupted_at(40, loop._TrainingState.evaluate)
    )
    assert hydraopt(*arguments, "-o", tmp_path / "parts").code == 130
    monkeypatch.undo()
    assert any(name.endswith(".checkpoint") for name in names(tmp_path))
    assert "parts" not in names(tmp_path)
    resumed = json.loads(succeeds(*arguments, "-o", tmp_path / "parts", "--resume", "--json"))
    assert resumed == record
    whole, parts = HydraLora.load(tmp_path / "whole"), HydraLora.load(tmp_path / "parts")
    for name, factors in whole.modules.items():
        for one, other in zip(factors, parts.modules[name], strict=True):
            assert torch.equal(one, other)
    assert "experts 2" in " ".join(succeeds("info", tmp_path / "whole").split())


def interrupted_at(step, evaluate):
    def interrupting(run, held_out):
        if run.step == step:
            raise KeyboardInterrupt
        evaluate(run, held_out)

    return interrupting


def test_mistakes_of_a_training_are_one_line(base, data, tmp_path):
    out = tmp_path / "out"
    train = ("train", "hydralora", "--base", base, "-o", out, "--experts", 2, "--steps", 2)
    broken = tmp_path / "broken.jsonl"
    broken.write_text(data.read_text().replace('"answer": "5"', '"answer": 5'))
    long = tmp_path / "long.jsonl"
    long.write_text(json.dumps({"prompt": "x" * 40, "answer": "y"}))
    (tmp_path / "old").mkdir()
    for arguments, message in [
        (("--data", broken), "broken.jsonl, line 6 has no text 'answer'"),
        (("--data", long), "has 42 tokens, expected at most 32"),
        (("--data", tmp_path / "none"), "cannot read"),
        (("--data", data, "--targets", "query"), "'query' matches no layer of the base"),
        (("--data", data, "--experts", 1), "experts is 1, expected at least 2"),
        (("--data", data, "--rate", -1), "rate is -1.0, expected a positive number"),
        (("--data", data, "--resume"), "there is no checkpoint"),
        (("--data", data, "-o", tmp_path / "old"), "exists already"),
        (("--data", data, "--base", tmp_path), "cannot load base model"),
    ]:
        error = fails(*train, *arguments)
        assert error.startswith("error: ")
        assert message in error
        assert error.count("\n") == 1
        assert not out.exists()


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_weights(base, data, tmp_path):
    train = ("train", "hydralora", "--base", base, "--data", data, "-o", tmp_path / "out")
    error = fails(*train, "--experts", 2, "--steps", 60, "--rate", "1e30")
    assert "error: step " in error
    assert "the weights are in " in error
    assert HydraLora.load(tmp_path / "out").config.experts == 2


def test_another_data_set_has_another_checkpoint(base, data, tmp_path, monkeypatch):
    train = (
        "train",
        "hydralora",
        "--base",
        base,
        "--experts",
        2,
        "--steps",
        40,
        "-o",
        tmp_path / "o",
    )
    monkeypatch.setattr(
        loop._TrainingState, "evaluate", interrupted_at(40, loop._TrainingState.evaluate)
    )
    assert hydraopt(*train, "--data", data).code == 130
    other = tmp_path / "other.jsonl"
    other.write_text(data.read_text() + "\n" + json.dumps({"prompt": "a", "answer": "b"}))
    assert "there is no checkpoint" in fails(*train, "--data", other, "--resume")
    (checkpoint,) = tmp_path.glob(".o.*.checkpoint")
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    assert "is damaged or belongs to another training" in fails(*train, "--data", data, "--resume")
    assert "is not a checkpoint of hydraopt" in fails(*train, "--data", data)
    assert checkpoint.stat().st_size == 100
