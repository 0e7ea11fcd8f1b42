"""Embeddings: hidden states are pooled as sentence-transformers says beside the model."""

import json
from pathlib import Path

import pytest
import torch
from command_line import succeeds
from conftest import FLOAT32
from encoders import ENCODER_ID, save_base, save_lora, tiny_bert
from executorch.runtime import Runtime
from huggingface_hub import constants
from test_heads import classifier
from torch import nn
from torch.nn import functional as F

from hydraopt.adapters import read_adapters
from hydraopt.errors import LoweringError, TaskError
from hydraopt.formats.models import Pooling
from hydraopt.lowering.backends import find_backend
from hydraopt.lowering.base_model import load_base
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.kinds.pooling import MODES, pooled
from hydraopt.lowering.kinds.sentence import TRANSFORMERS, Sentence, read_sentence
from hydraopt.lowering.program import export_module, lower
from hydraopt.lowering.settings import ExportSettings
from hydraopt.merging.private import private
from hydraopt.runtime import Session
from hydraopt.runtime.native import load_kernels

OLD, NEW = "sentence_transformers.models.", "sentence_transformers.base.modules.any."
CLS = {"word_embedding_dimension": 64, "pooling_mode_cls_token": True}
SETTINGS, TRANSFORMER = "config_sentence_transformers.json", TRANSFORMERS[0]


def by_definition(mode: str, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The embedding ``[d]`` of one text, in the words of sentence-transformers' documentation."""
    seen = states[mask.bool()]
    counts = torch.arange(1, len(seen) + 1.0)[:, None]
    return {
        "cls": lambda: seen[0],
        "lasttoken": lambda: seen[-1],
        "max": lambda: seen.max(0).values,
        "mean": lambda: seen.mean(0),
        "mean_sqrt_len_tokens": lambda: seen.sum(0) / len(seen) ** 0.5,
        "weightedmean": lambda: (seen * counts).sum(0) / counts.sum(),
    }[mode]()


def texts():
    """Hidden states and masks: whole, one token, a hidden end, a hidden start."""
    generator = torch.Generator().manual_seed(0)
    for mask in ([1] * 9, [1], [1, 1, 1, 0, 0], [0, 0, 1, 1]):
        yield torch.randn(len(mask), 8, generator=generator) - 3, torch.tensor(mask)


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_is_what_its_definition_says(mode):
    for states, mask in texts():
        found = pooled(mode, states[None], mask[None].float())[0]
        torch.testing.assert_close(found, by_definition(mode, states, mask))


class AllModes(nn.Module):
    def forward(self, states, mask, factors):
        return tuple(pooled(mode, states, mask) for mode in MODES)


@pytest.mark.slow
def test_a_program_pools_texts_of_any_length_in_every_mode(tmp_path):
    length = torch.export.Dim("sequence", min=1, max=16)
    dynamic = {"states": {1: length}, "mask": {1: length}}
    example = (torch.zeros(1, 4, 8), torch.ones(1, 4))
    program = lower({"forward": export_module(AllModes(), example, dynamic, {})}, find_backend())
    (tmp_path / "pool.pte").write_bytes(program.buffer)
    load_kernels()
    method = Runtime.get().load_program(str(tmp_path / "pool.pte")).load_method("forward")
    for states, mask in texts():
        embeddings = method.execute([states[None], mask[None].float()])
        for mode, found in zip(MODES, embeddings, strict=True):
            torch.testing.assert_close(found[0], by_definition(mode, states, mask))


def write(directory: Path, files: dict[str, object]) -> str:
    for name, value in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(value if isinstance(value, str) else json.dumps(value))
    return str(directory)


def modules(*names: str, package: str = OLD) -> list[dict]:
    """``modules.json`` with these steps."""
    paths = ["", *(f"{number}_{name}" for number, name in enumerate(names) if number)]
    return [
        {"idx": number, "name": str(number), "path": path, "type": package + name}
        for number, (name, path) in enumerate(zip(names, paths, strict=True))
    ]


def saved(pooling: object = CLS, *more: str, package: str = OLD, **files) -> dict[str, object]:
    """The files of a model of sentence-transformers; ``more`` steps follow the pooling."""
    listed = {"modules.json": modules("Transformer", "Pooling", *more, package=package)}
    return listed | {"1_Pooling/config.json": pooling} | files


PROMPTS = {"prompts": {"query": "query: ", "document": ""}, "default_prompt_name": "query"}


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, Sentence("mean", normalized=True)),
        (saved(), Sentence("cls", normalized=False)),
        (saved(CLS, "Normalize"), Sentence("cls", normalized=True)),
        (saved({}), Sentence("mean", normalized=False)),
        (saved({"pooling_mode_mean_tokens": True}), Sentence("mean", normalized=False)),
        (saved({"pooling_mode_lasttoken": True}), Sentence("lasttoken", normalized=False)),
        (saved({"pooling_mode": "max"}, package=NEW), Sentence("max", normalized=False)),
        (saved({"pooling_mode": ["weightedmean"]}), Sentence("weightedmean", normalized=False)),
        (saved(**{TRANSFORMER: {"max_seq_length": 24}}), Sentence("cls", False, 24)),
        (saved(**{"tokenizer_config.json": {"model_max_length": 9}}), Sentence("cls", False, 9)),
        (saved(**{"tokenizer_config.json": {"model_max_length": 1e30}}), Sentence("cls", False)),
        (
            saved(**{"sentence_roberta_config.json": {"max_seq_length": 7}}),
            Sentence("cls", False, 7),
        ),
        (saved(**{TRANSFORMER: {"do_lower_case": True}}), Sentence("cls", False, lower_case=True)),
        (saved(**{SETTINGS: PROMPTS}), Sentence("cls", False, prompt="query: ")),
        (saved(**{SETTINGS: {**PROMPTS, "default_prompt_name": None}}), Sentence("cls", False)),
    ],
)
def test_what_lies_beside_a_model_says_how_to_pool(tmp_path, files, found):
    assert read_sentence(write(tmp_path, files)) == found


OUTSIDE = [*modules("Transformer"), {"path": "../1_Pooling", "type": f"{OLD}Pooling"}]
ROOT = [*modules("Transformer"), {"path": "", "type": f"{OLD}Pooling"}]
INSIDE = [{"path": "0_Transformer", "type": f"{OLD}Transformer"}, *modules("T", "Pooling")[1:]]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (saved(CLS, "Dense"), "has the steps Transformer, Pooling, Dense, expected"),
        (saved(CLS, "Dense", "Normalize"), "Pooling, Dense, Normalize, expected"),
        (saved(CLS, "LayerNorm"), "Transformer, Pooling, LayerNorm, expected"),
        (saved(CLS, package="custom_st."), "the steps custom_st.Transformer, custom_st.Pooling,"),
        ({"modules.json": modules("Router", "Pooling")}, "the steps Router, Pooling, expected"),
        ({"modules.json": modules("Transformer")}, "the steps Transformer, expected"),
        ({"modules.json": INSIDE}, "expected the Transformer of this very directory"),
        ({"modules.json": OUTSIDE}, "the steps Transformer, Pooling in ../1_Pooling, expected"),
        ({"modules.json": ROOT}, "the steps Transformer, Pooling, expected the Transformer of"),
        ({"modules.json": {}}, "modules.json of sentence-transformers has dict, expected list"),
        ({"modules.json": []}, "has the steps none, expected"),
        ({"modules.json": "["}, "modules.json of sentence-transformers cannot be read .not JSON"),
        ({"modules.json": [1, None]}, "the steps None in None, None in None|the steps None, None"),
        ({"modules.json": modules("Transformer", "Pooling")}, "1_Pooling/config.json .* nothing"),
        (saved(CLS | {"pooling_mode_max_tokens": True}), "the mode cls and max, expected one of"),
        (saved({"pooling_mode": ["mean", "cls"]}), "the mode mean and cls, expected one of"),
        (saved({"pooling_mode": "median"}), "the mode median, expected one of mean, cls"),
        (saved({"pooling_mode": {}}), "the mode {}, expected one of"),
        (saved(**{SETTINGS: {"default_prompt_name": "query"}}), "has no prompt query, the default"),
        (saved(**{SETTINGS: {"default_prompt_name": "q", "prompts": [1]}}), "has no prompt q"),
        (saved(CLS | {"include_prompt": False}, **{SETTINGS: PROMPTS}), "prompt whose tokens are"),
        (saved(**{TRANSFORMER: {"transformer_task": "fill-mask"}}), "transformer_task fill-mask"),
        (saved(**{TRANSFORMER: {"modality_config": {"image": {}}}}), "modality_config {'image'"),
        (saved(**{TRANSFORMER: {"processing_kwargs": {"text": {"a": 1}}}}), "processing_kwargs"),
        (
            saved(CLS, "Normalize", **{"2_Normalize/config.json": {"module_input_name": "token"}}),
            "module_input_name token, expected",
        ),
    ],
)
def test_what_a_program_does_not_compute_is_refused_by_name(tmp_path, files, message):
    with pytest.raises(LoweringError, match=message) as refused:
        read_sentence(write(tmp_path, files))
    assert "\n" not in str(refused.value)


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """The snapshot of a repository ``org/model`` in a cache, while the hub is out of reach."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    commit, repository = "0" * 40, tmp_path / "models--org--model"
    write(repository, {"refs/main": commit, f"snapshots/{commit}/config.json": "{}"})
    return repository / "snapshots" / commit


def test_a_hub_id_is_read_as_a_directory_is(cached):
    write(cached, saved(CLS, "Normalize"))
    for missing in (SETTINGS, *TRANSFORMERS, "tokenizer_config.json", "2_Normalize/config.json"):
        write(cached.parents[1] / ".no_exist" / cached.name, {missing: ""})
    assert read_sentence("org/model") == Sentence("cls", normalized=True)


def test_a_hub_id_without_modules_pools_the_mean_if_it_is_known_to_have_none(cached):
    with pytest.raises(LoweringError, match=r"modules.json .* not in the cache"):
        read_sentence("org/model")
    write(cached.parents[1] / ".no_exist" / cached.name, {"modules.json": ""})
    assert read_sentence("org/model") == Sentence()


def test_an_encoder_with_a_classifier_pools_nothing(tmp_path):
    save_base(classifier(2), tmp_path / "base")
    write(tmp_path / "base", saved(CLS, "Dense"))
    about = load_base(str(tmp_path / "base"), ENCODER_ID).about
    assert about == {"per_token": False}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """The PEFT model and the bundle of a base that pools the first token of lower-case texts."""
    root = tmp_path_factory.mktemp("pooling")
    save_base(tiny_bert(), root / "base")
    settings = {"max_seq_length": 24, "do_lower_case": True}
    write(root / "base", saved(**{TRANSFORMER: settings, SETTINGS: PROMPTS}))
    model = save_lora(root / "one", tiny_bert(), ENCODER_ID, 0, target_modules=["query", "value"])
    merged = private(read_adapters([root / "one"]))
    export_bundle(merged, str(root / "base"), root / "bundle", FLOAT32)
    return model, root / "bundle"


@pytest.mark.slow
def test_a_bundle_embeds_as_the_base_says(bundle):
    model, directory = bundle
    session = Session.open(directory)
    session.switch("one")
    assert session.manifest.model.pooling == Pooling("cls", False, "query: ")
    assert session.encode("Ada") == session.encode("ada")
    ids = list(b"query: ada")
    assert session.encode("Ada") == ids
    with torch.no_grad():
        wanted = model(input_ids=torch.tensor([ids])).last_hidden_state[0, 0]
    torch.testing.assert_close(session.run("Ada"), wanted, atol=1e-4, rtol=0)
    assert abs(wanted.norm() - 1) > 0.1
    assert (F.normalize(session.run("Ada"), dim=0) - F.normalize(wanted, dim=0)).norm() < 1e-4


@pytest.mark.slow
def test_a_text_that_sentence_transformers_would_cut_is_refused(bundle):
    session = Session.open(bundle[1])
    session.switch("one")
    assert session.manifest.model.max_length == 24
    with pytest.raises(TaskError, match="25 tokens, expected at most 24"):
        session.run("a" * 18)


@pytest.mark.slow
def test_info_tells_pooling_and_prompt(bundle):
    about = json.loads(succeeds("info", bundle[1], "--json"))
    assert about["pooling"] == {"mode": "cls", "normalized": False, "prompt": "query: "}
    assert not about["per_token"]


def test_who_asks_for_longer_texts_than_sentence_transformers_reads_gets_them(tmp_path):
    save_base(tiny_bert(), tmp_path)
    write(tmp_path, saved(**{TRANSFORMER: {"max_seq_length": 24}}))
    loaded = load_base(str(tmp_path), ENCODER_ID)
    assert loaded.kind.resolve(ExportSettings(), loaded.model).max_length == 24
    assert loaded.kind.resolve(ExportSettings(max_length=32), loaded.model).max_length == 32
