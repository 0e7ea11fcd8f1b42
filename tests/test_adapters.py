"""Reading: the factors equal what PEFT itself adds to the base. Writing: PEFT reads it back."""

import json

import pytest
import torch
from conftest import BASE_ID, TARGETS, delta, random_set, save_adapter, tiny_llama
from peft import PeftModel
from safetensors.torch import load_file, save_file

from hydraopt.adapters import AdapterSet, read_adapter, read_adapters, write_adapter
from hydraopt.errors import AdapterError
from hydraopt.factors import Role, Target

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def assert_adds_what_peft_adds(adapter, peft_model):
    base = tiny_llama().state_dict()
    for module, weight in peft_model.merge_and_unload().named_parameters():
        name = module.removesuffix(".weight")
        added = delta(adapter.factors[name]) if name in adapter.factors else 0
        torch.testing.assert_close(
            base[module].double() + added, weight.double(), atol=1e-6, rtol=0
        )


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"q_proj": 2, "layers.0.mlp.up_proj": 6}},
        {"alpha_pattern": {"v_proj": 3}, "rank_pattern": {"v_proj": 7}, "use_rslora": True},
        {"target_modules": ["o_proj"]},
        {"target_modules": r".*\.(gate|up)_proj"},
        {"fan_in_fan_out": False, "r": 1, "lora_alpha": 5},
        {
            "target_modules": "all-linear",
            "exclude_modules": ["o_proj"],
            "init_lora_weights": "mica",
        },
        {"layers_to_transform": [0], "layers_pattern": "layers", "lora_alpha": 2.5},
        {"target_modules": r"^(?!.*(?:visual|projector)).*(?:q_proj|down_proj).*"},
        {"rank_pattern": {r"^model\.layers\.0\.mlp\.up_proj": 2, r"layers\.\d+\.mlp\..*": 3}},
    ],
)
def test_reads_the_delta_that_peft_applies(tmp_path, config):
    model = save_adapter(tmp_path / "a", **config)
    assert_adds_what_peft_adds(read_adapter(tmp_path / "a"), model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_reads_every_float_type_as_float32(tmp_path, dtype):
    save_adapter(tmp_path / "a")
    tensors = load_file(tmp_path / "a" / WEIGHTS)
    save_file({name: t.to(dtype) for name, t in tensors.items()}, tmp_path / "a" / WEIGHTS)
    for factors in read_adapter(tmp_path / "a").factors.values():
        assert factors.a.dtype == factors.b.dtype == torch.float32


def test_fan_in_fan_out_adapter_of_a_conv1d_layer(tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=8, n_layer=1, n_head=2, n_positions=8))
    before = gpt2.transformer.h[0].attn.c_attn.weight.detach().clone()
    config = LoraConfig(
        r=2, target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights=False
    )
    model = get_peft_model(gpt2, config)
    model.peft_config["default"].base_model_name_or_path = BASE_ID
    model.save_pretrained(tmp_path / "a", save_embedding_layers=False)
    after = model.merge_and_unload().transformer.h[0].attn.c_attn.weight
    factors = read_adapter(tmp_path / "a").factors["transformer.h.0.attn.c_attn"]
    torch.testing.assert_close((after - before).double(), delta(factors).T, atol=1e-6, rtol=0)


def test_what_is_written_is_read_by_peft_and_by_us(tmp_path):
    save_adapter(tmp_path / "a", rank_pattern={"q_proj": 2})
    adapter = read_adapter(tmp_path / "a")
    write_adapter(tmp_path / "b", adapter.factors, BASE_ID)
    again = read_adapter(tmp_path / "b")
    assert again.factors.keys() == adapter.factors.keys()
    for module, factors in adapter.factors.items():
        torch.testing.assert_close(delta(again.factors[module]), delta(factors), atol=2e-3, rtol=0)
    assert_adds_what_peft_adds(again, PeftModel.from_pretrained(tiny_llama(), tmp_path / "b"))


def test_a_task_is_named_after_its_directory_or_explicitly(tmp_path):
    save_adapter(tmp_path / "run1" / "final", 1)
    save_adapter(tmp_path / "run2" / "final", 2)
    with pytest.raises(AdapterError, match=r"2 adapters are named 'final'.*NAME=DIRECTORY"):
        read_adapters([tmp_path / "run1" / "final", tmp_path / "run2" / "final"])
    named = read_adapters([f"de={tmp_path}/run1/final", tmp_path / "run2" / "final"])
    assert named.tasks == ("de", "final")


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "", "a b", "-x", "a\nb", "x" * 101])
def test_a_name_that_is_no_safe_file_name_is_refused(name):
    adapter = random_set(1).adapters[0]
    with pytest.raises(AdapterError, match="expected up to 100 letters, digits"):
        AdapterSet([type(adapter)(name, adapter.base_model, adapter.factors)])


def test_a_link_gives_its_own_name(tmp_path):
    save_adapter(tmp_path / "final")
    (tmp_path / "german").symlink_to("final")
    assert read_adapter(tmp_path / "german").name == "german"


def test_fp16_bytes_count_every_factor_value():
    adapters = random_set(tasks=2, rank=3, shapes=((20, 12), (8, 16)))
    assert adapters.fp16_bytes == 2 * 2 * 3 * (20 + 12 + 8 + 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "expected 'LORA'"),
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "bias='all'"),
        ({"lora_bias": True}, "bias on B"),
        ({"modules_to_save": ["lm_head"]}, "fully trained modules"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the base model's weights"),
        ({"base_model_name_or_path": None}, "no base_model_name_or_path"),
        ({"r": 0}, "r=0, expected a positive number"),
        ({"lora_alpha": float("nan")}, "NaN is not a JSON number"),
        ({"lora_alpha": 1e12}, "exceed fp16"),
        (
            {"rank_pattern": {"(": 8}},
            r"rank_pattern has an invalid regular expression \(missing \), unterminated",
        ),
        ({"alpha_pattern": {"q_proj": "8"}}, "alpha_pattern does not map"),
        ({"base_model_name_or_path": 5}, "is not a string"),
        ({"r": 5}, r"expected \[5, in\]"),
    ],
)
def test_refuses_what_is_not_plain_lora(tmp_path, changes, message):
    save_adapter(tmp_path / "a")
    path = tmp_path / "a" / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(AdapterError, match=message):
        read_adapter(tmp_path / "a")


def edit_tensors(directory, change):
    tensors = load_file(directory / WEIGHTS)
    change(tensors, sorted(tensors)[0])
    save_file(tensors, directory / WEIGHTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t, k: t.update({"base_model.model.lm_head.weight": torch.ones(2)}),
            "unknown tensor",
        ),
        (lambda t, k: t.update({k: t[k].T.contiguous()}), r"expected \[4, in\]"),
        (lambda t, k: t.update({k: t[k] * float("nan")}), "NaN, infinite"),
        (lambda t, k: t.update({k: t[k] + float("inf")}), "NaN, infinite"),
        (lambda t, k: t.pop(k), "has only lora_B"),
        (lambda t, k: t.clear(), "no LoRA factors"),
    ],
)
def test_refuses_broken_tensors(tmp_path, change, message):
    save_adapter(tmp_path / "a")
    edit_tensors(tmp_path / "a", change)
    with pytest.raises(AdapterError, match=message):
        read_adapter(tmp_path / "a")


@pytest.mark.parametrize("ending", [".surgery", ".task_head"])
def test_refuses_a_layer_whose_name_means_something_else_here(tmp_path, ending):
    save_adapter(tmp_path / "a")

    def rename(tensors, key):
        layer = key.removesuffix(".lora_A.weight")
        for side in "AB":
            tensors[f"{layer}{ending}.lora_{side}.weight"] = tensors.pop(
                f"{layer}.lora_{side}.weight"
            )

    edit_tensors(tmp_path / "a", rename)
    with pytest.raises(AdapterError, match=rf"a layer .*\{ending}, expected no name that ends"):
        read_adapter(tmp_path / "a")


@pytest.mark.parametrize("role", Role)
def test_a_targets_name_tells_its_layer_and_its_role(role):
    target = Target("model.layers.0.mlp.up_proj", role)
    assert Target.parse(target.module) == target


def test_names_of_targets_are_those_of_the_format():
    names = [Target("lm_head", role).module for role in Role]
    assert names == ["lm_head", "lm_head.surgery", "lm_head.task_head"]


def test_refuses_truncated_and_missing_files(tmp_path):
    save_adapter(tmp_path / "a")
    weights = tmp_path / "a" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(AdapterError, match="truncated"):
        read_adapter(tmp_path / "a")
    weights.unlink()
    with pytest.raises(AdapterError, match=r"adapter_model\.safetensors is missing"):
        read_adapter(tmp_path / "a")
    (tmp_path / "a" / CONFIG).write_text("{")
    with pytest.raises(AdapterError, match="not readable JSON"):
        read_adapter(tmp_path / "a")
    (tmp_path / "a" / CONFIG).unlink()
    with pytest.raises(AdapterError, match=r"adapter_config\.json is missing"):
        read_adapter(tmp_path / "a")


def test_refuses_a_path_that_is_neither_directory_nor_hub_id(tmp_path):
    with pytest.raises(AdapterError, match="no adapter directory"):
        read_adapter(tmp_path / "nothing" / "here")


def test_a_hub_id_is_downloaded(tmp_path, monkeypatch):
    save_adapter(tmp_path / "snapshot")
    asked = []

    def download(repository, allow_patterns):
        asked.append((repository, sorted(allow_patterns)))
        return str(tmp_path / "snapshot")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert read_adapter("some-org/some-adapter").name == "some-adapter"
    assert asked == [("some-org/some-adapter", [CONFIG, WEIGHTS])]


def test_refuses_sets_that_do_not_belong_together(tmp_path):
    with pytest.raises(AdapterError, match="no adapters given"):
        AdapterSet([])
    save_adapter(tmp_path / "a")
    save_adapter(tmp_path / "b", base_id="another/base")
    with pytest.raises(AdapterError, match=r"'b' is for base model 'another/base'.*'tests/tiny"):
        read_adapters([tmp_path / "a", tmp_path / "b"])
    first = random_set(1, shapes=((20, 12),)).adapters[0]
    second = random_set(1, shapes=((20, 16),)).adapters[0]
    renamed = type(second)("other", second.base_model, second.factors)
    with pytest.raises(AdapterError, match=r"shape \(20, 12\).*expected \(20, 16\)"):
        AdapterSet([first, renamed])


def test_unequal_ranks_and_target_sets_are_kept(tmp_path):
    save_adapter(tmp_path / "a", r=2, target_modules=TARGETS[:2])
    save_adapter(tmp_path / "b", r=5, target_modules=TARGETS[1:])
    adapters = read_adapters([tmp_path / "a", tmp_path / "b"])
    assert len(adapters.shapes) == len(TARGETS)
    assert adapters.max_rank == 5
