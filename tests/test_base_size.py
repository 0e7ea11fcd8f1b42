"""A base gets 4 and 8 bits where they matter, and its program keeps to a size."""

import itertools
import json
import random
import re
from functools import partial

import pytest
import torch
from command_line import hydraopt, succeeds
from conftest import BASE_ID
from torch import nn
from torch.nn.functional import kl_div, linear

from hydraopt.adapters import FEATURES
from hydraopt.errors import LoweringError, UsageError
from hydraopt.formats.manifest import PROGRAM, Manifest
from hydraopt.lowering.base_model import load_base
from hydraopt.lowering.base_size import (
    EMBEDDING,
    check_base_size,
    check_program_size,
    choose,
    find_room,
    with_bits,
)
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.calibration_texts import GENERATED, NO_TEXTS, calibration_texts
from hydraopt.lowering.settings import ExportSettings
from hydraopt.recipes import find_family
from hydraopt.recipes.tiny import tiny_family
from hydraopt.rounding import Texts, round_nearest
from hydraopt.rounding.sensitivity import divergences
from hydraopt.schemes import Grid

INT4 = Grid(4, 32)
SEEDS = range(20)


def some_layers(seed: int) -> tuple[dict[str, float], dict[str, int]]:
    rng = random.Random(seed)
    names = [f"layer{n}" for n in range(9)]
    return {x: rng.random() for x in names}, {x: rng.randint(1, 99) for x in names}


@pytest.mark.parametrize("seed", SEEDS)
def test_bytes_go_where_they_gain_most(seed):
    gains, sizes = some_layers(seed)
    sets = [x for n in range(10) for x in itertools.combinations(gains, n)]
    for room in (0, 50, 150, 300, 10**6):
        chosen = choose(gains, sizes, room)
        assert sum(sizes[x] for x in chosen) <= room
        fitting = (x for x in sets if sum(sizes[name] for name in x) <= room)
        best = max(sum(gains[name] for name in x) for x in fitting)
        assert sum(gains[x] for x in chosen) == pytest.approx(best)


@pytest.mark.parametrize("seed", SEEDS)
def test_more_bytes_never_gain_less_and_are_never_exceeded(seed):
    gains, sizes = some_layers(seed)
    sizes = {name: 12_345 * size for name, size in sizes.items()}  # counted in steps
    found = [choose(gains, sizes, room) for room in range(0, sum(sizes.values()), 99_999)]
    totals = [sum(gains[x] for x in chosen) for chosen in found]
    assert totals == sorted(totals)
    for n, chosen in enumerate(found):
        assert sum(sizes[x] for x in chosen) <= 99_999 * n


def test_of_layers_of_one_size_the_sensitive_ones_come_first():
    gains = {"a": 0.1, "b": 0.4, "c": 0.2, "d": 0.3, "unused": 0.0}
    sizes = dict.fromkeys(gains, 1000)
    by_room = [choose(gains, sizes, 1000 * count) for count in range(6)]
    assert by_room == [set(), {"b"}, {*"bd"}, {*"bdc"}, {*"bdca"}, {*"bdca"}]


@pytest.fixture
def loaded(base):
    found = load_base(str(base), BASE_ID)
    with torch.no_grad():  # a random model predicts nearly the same whatever it reads
        for parameter in found.model.parameters():
            parameter.mul_(3 if parameter.dim() == 2 else 1)
    return found


@pytest.fixture
def texts(loaded):
    return calibration_texts(loaded, GENERATED, ["alpha"], lambda _: {})


def test_estimates_are_near_the_divergences_that_rounding_causes(loaded, texts):
    model = loaded.model.requires_grad_(False)
    embedding = model.get_input_embeddings()
    layers = [embedding, *(x for x in model.modules() if isinstance(x, nn.Linear))]
    rounded = {x: round_nearest(x.weight, INT4).dense() for x in layers}
    changes = {x: partial(linear, weight=rounded[x] - x.weight) for x in layers}
    changes[embedding] = lambda ids: (rounded[embedding] - embedding.weight)[ids]

    def predicted() -> torch.Tensor:
        return texts.run(model).logits.log_softmax(-1)[texts.tokens.kept]

    found = divergences(
        changes, texts.tokens, lambda rows: texts.run(model, rows).logits, predicts=True
    )
    wanted = predicted()
    for layer, weight in rounded.items():
        before, layer.weight = layer.weight, nn.Parameter(weight, requires_grad=False)
        divergence = kl_div(predicted(), wanted, log_target=True, reduction="batchmean").item()
        layer.weight = before
        assert 0.6 * divergence < found[layer] < 1.6 * divergence


def test_a_task_counts_once_padding_not_at_all_and_other_layers_are_zero():
    embedding, layer, unused = nn.Embedding(9, 8), nn.Linear(8, 4), nn.Linear(8, 4)
    for module in (embedding, layer, unused):
        module.requires_grad_(False)
    changes = {embedding: lambda ids: torch.zeros(()), layer: layer.forward, unused: unused.forward}

    def found(ids: torch.Tensor, tasks: list[int]) -> dict[nn.Module, float]:
        given = Texts(ids, ids > 0, torch.tensor(tasks))
        return divergences(changes, given, lambda x: layer(embedding(ids[x])), predicts=False)

    ids = torch.tensor([[1, 2, 3], [4, 5, 0]])
    squares = layer(embedding.weight).square().sum(1)
    wanted = (squares[1:4].mean() + squares[4:6].mean()) / 4  # half the mean of two tasks
    for given, tasks in ((ids, [0, 1]), (torch.cat([ids[:1]] * 3 + [ids[1:]]), [0, 0, 0, 1])):
        assert found(given, tasks)[layer] == pytest.approx(wanted.item(), rel=0.3)
        assert found(given, tasks)[embedding] == found(given, tasks)[unused] == 0


def room_of(loaded, size: str, **settings):
    given = loaded.kind.resolve(ExportSettings(base_size=size, **settings), loaded.model)
    return given, find_room(loaded, given, 0, 1)


@pytest.mark.parametrize("size", ["100%", "300%", "1GB"])
def test_a_size_of_8_bits_everywhere_or_more_gives_them(loaded, texts, size):
    settings, room = room_of(loaded, size)
    found = with_bits(loaded, settings, texts, room)
    assert found.embedding == "8w"
    assert found.overrides == dict.fromkeys(room.layers.keys() - {EMBEDDING}, "8da8w")


def test_what_is_given_stays(loaded, texts):
    given = {"*.q_proj": "8da8w", "*.up_proj": "8da4w", "*.o_proj": "none"}
    settings, room = room_of(loaded, "100%", overrides=given, embedding="none")
    found = with_bits(loaded, settings, texts, room)
    assert found.embedding == "none" and found.overrides.items() >= given.items()
    kinds = {x.rpartition(".")[2] for x in found.overrides if x not in given}
    assert kinds == {"k_proj", "v_proj", "gate_proj", "down_proj", "lm_head"}


def test_bytes_of_factors_and_of_given_layers_leave_less_for_others(loaded):
    settings, room = room_of(loaded, "1MB")
    assert find_room(loaded, settings, 5000, 1).least == room.least + 5000
    assert find_room(loaded, settings, 0, 3).least > room.least
    _, given = room_of(loaded, "1MB", overrides={"lm_head": "8da8w"})
    narrow, wide = room.layers["lm_head"]
    assert given.least == room.least + wide - narrow


def test_a_layer_that_fits_no_groups_has_8_bits(loaded):
    loaded.model.lm_head = nn.Linear(48, 258)
    _, room = room_of(loaded, "100%")
    narrow, wide = room.layers["lm_head"]
    assert narrow == wide == 258 * (48 + 4)


@pytest.mark.parametrize("size", ["110", "x", "", "0%", "-1MB", "nan%", "1TB", "9" * 400])
def test_nonsense_is_refused(size):
    with pytest.raises(UsageError, match=r"^base size .*, expected a share like 10% or"):
        check_base_size(ExportSettings(base_size=size), GENERATED)


@pytest.mark.parametrize(
    ("settings", "calibration", "message"),
    [
        (ExportSettings("8da8w", base_size="85%"), GENERATED, "all are to be 8da8w; leave either"),
        (ExportSettings("none", base_size="85%"), GENERATED, "all are to be none; leave either"),
        (ExportSettings(base_size="85%"), NO_TEXTS, "needs texts, on which layers are measured"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    merged, base, tmp_path, settings, calibration, message
):
    with pytest.raises(UsageError, match=message) as error:
        export_bundle(merged, str(base), tmp_path / "out", settings, calibration=calibration)
    assert "base_size" in error.value.options
    assert not (tmp_path / "out").exists()


def test_a_size_below_4_bits_everywhere_is_refused_with_the_smallest(loaded):
    with pytest.raises(LoweringError, match=r"of 10kB is 10,000 bytes, but with 4 bits") as error:
        room_of(loaded, "10kB")
    smallest = str(error.value).rpartition("at least ")[2]
    assert room_of(loaded, smallest)[1].limit < 1.1 * room_of(loaded, smallest)[1].least


def test_a_program_that_is_larger_than_estimated_is_refused():
    settings = ExportSettings(base_size="1000B")
    check_program_size(settings, 1000)
    with pytest.raises(LoweringError, match="has 1,234 bytes, 234 more than asked for"):
        check_program_size(settings, 1234)


def test_an_encoder_is_measured_by_its_hidden_states():
    with tiny_family(find_family("minilm")) as (encoder, _):
        loaded = load_base(str(encoder), "minilm", FEATURES)
    prompts = {"first": [f"a text about number {n}" for n in range(9)]}
    texts = calibration_texts(loaded, prompts, ["first"], lambda _: {})
    settings, room = room_of(loaded, "95%")
    found = with_bits(loaded, settings, texts, room)
    more = [x.wide - x.narrow for name, x in room.layers.items() if name in found.overrides]
    assert 0 < sum(more) <= room.limit - room.least


def test_a_base_that_reads_no_texts_is_refused():
    with tiny_family(find_family("vit")) as (model, _):
        loaded = load_base(str(model), "vit", None)
    with pytest.raises(LoweringError, match="of kind image reads none; choose layers yourself"):
        room_of(loaded, "85%")


@pytest.mark.slow
def test_a_program_keeps_to_its_size_and_is_the_one_of_the_same_schemes_by_hand(
    adapter_dirs, base, tmp_path
):
    compressed = tmp_path / "compressed"
    succeeds("compress", *adapter_dirs, "-o", compressed, "--budget", "50%")
    prompts = tmp_path / "prompts.jsonl"
    lines = (json.dumps({"prompt": f"bottle number {n}"}) for n in range(20))
    prompts.write_text("\n".join(lines))
    options = ("--base", base, "--calibration", prompts)
    size = ("--base-size", "90%", "--override", "*.o_proj=8da8w")
    done = hydraopt("-v", "export", compressed, *options, "-o", tmp_path / "sized", *size)
    assert done.code == 0, done.stderr
    log = " ".join(done.stderr.split())
    assert re.search(r"8 bits for [01] of 1 q_proj, .* of 1 embedding", log)
    manifest = Manifest.read(tmp_path / "sized")
    wide = {name for name, scheme in manifest.overrides.items() if scheme == "8da8w"}
    assert 1 < len(wide) < 8
    by_hand = [f"--override={name}={scheme}" for name, scheme in manifest.overrides.items()]
    by_hand.append(f"--embedding={manifest.model.embedding}")
    succeeds("export", compressed, *options, "-o", tmp_path / "by_hand", *by_hand)
    sized, other = ((tmp_path / x / PROGRAM).read_bytes() for x in ("sized", "by_hand"))
    assert sized == other and Manifest.read(tmp_path / "by_hand") == manifest
    limit = int(0.9 * room_of(load_base(str(base), BASE_ID), "100%")[1].limit)
    assert len(sized) < limit
