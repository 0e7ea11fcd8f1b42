"""Copies of the base's weights that PEFT saves with an adapter: they are the base's, or refused."""

from dataclasses import replace

import pytest
import torch
from conftest import BASE_ID, FLOAT32, tiny_llama
from llama_data import TEXT, data_of, llama_set, logits_of
from peft import LoraConfig, get_peft_model

from hydraopt.adapters import AdapterSet, read_adapters
from hydraopt.adapters.base_weights import fingerprint
from hydraopt.bundles import add_task
from hydraopt.errors import AdapterError, DataError, LoweringError
from hydraopt.evaluation import Evaluator
from hydraopt.fitting import check_base_weights
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.static import static_merged
from hydraopt.merging.hydraopt import average
from hydraopt.merging.private import private
from hydraopt.packing import Coder, code_verbatim
from hydraopt.runtime import Session
from hydraopt.stored import MergedAdapters


def save_with_head(directory, base, seed=1):
    """A LoRA of the output head, saved as PEFT does by default."""
    config = LoraConfig(r=2, target_modules=["q_proj", "lm_head"], init_lora_weights=False)
    torch.manual_seed(seed)
    model = get_peft_model(base, config)
    model.peft_config["default"].base_model_name_or_path = BASE_ID
    model.save_pretrained(directory)
    return model.eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_copy_of_the_base_in_the_type_of_training_is_its_weight(tmp_path, dtype):
    save_with_head(tmp_path / "a", tiny_llama().to(dtype))
    weights = read_adapters([tmp_path / "a"]).base_weights
    check_base_weights(tiny_llama(), weights, LoweringError)
    with pytest.raises(DataError, match=r"copy \[258, 64\] of lm_head.weight.*others \[258, 64\]"):
        check_base_weights(tiny_llama(hidden_size=64, intermediate_size=95), weights, DataError)


def other_head():
    model = tiny_llama()
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1e-2
    return model


def resized():
    model = tiny_llama()
    model.resize_token_embeddings(300)
    return model


@pytest.mark.parametrize("trained_on", [other_head, resized])
def test_a_base_other_than_the_copy_is_refused_wherever_it_is_loaded(tmp_path, base, trained_on):
    save_with_head(tmp_path / "a", trained_on())
    adapters = read_adapters([tmp_path / "a"])
    says = "hold a copy .* of lm_head.weight .*vocabulary was resized, the layer was trained"
    examples = {"a": [("one", "eins")]}
    with pytest.raises(DataError, match=says):
        data_of(adapters).places(adapters)
    with pytest.raises(DataError, match=says):
        Evaluator.load(str(base), examples).unmerged(adapters)
    for merged in (average(adapters), static_merged(average(adapters))):
        with pytest.raises(LoweringError, match=says):
            export_bundle(merged, str(base), tmp_path / "bundle", FLOAT32)
    assert not (tmp_path / "bundle").exists()


def test_fingerprints_of_the_base_outlive_every_directory(tmp_path):
    weight = torch.randn(3, 2)
    copies = {"x.weight": (fingerprint(weight), fingerprint(weight, torch.bfloat16))}
    adapters = [
        replace(adapter, base_weights={"x.weight": copy})
        for adapter, copy in zip(llama_set(tasks=2).adapters, copies["x.weight"], strict=True)
    ]
    merged = average(AdapterSet(adapters))
    merged.save(tmp_path / "m")
    coded = Coder.from_adapters(AdapterSet(adapters)).code(20_000)
    coded.save(tmp_path / "c")
    assert MergedAdapters.load(tmp_path / "m").base_weights == copies
    assert type(coded).load(tmp_path / "c").base_weights == copies
    assert code_verbatim(merged).base_weights == copies


@pytest.mark.slow
def test_a_head_as_peft_saves_it_by_default_is_exported_and_grows(tmp_path, base):
    models = {
        task: save_with_head(tmp_path / task, tiny_llama(), seed)
        for seed, task in enumerate(("one", "two", "three"))
    }
    export_bundle(
        code_verbatim(private(read_adapters([tmp_path / "one", tmp_path / "two"]))),
        str(base),
        tmp_path / "b",
        FLOAT32,
    )
    add_task(tmp_path / "b", str(tmp_path / "three"), "three")
    session = Session.open(tmp_path / "b")
    for task, model in models.items():
        session.switch(task)
        wanted = logits_of(model)[-1]
        assert (session.forward(TEXT) - wanted).norm() < 5e-3 * wanted.norm()  # 12 bits are left
    save_with_head(tmp_path / "other", other_head())
    with pytest.raises(AdapterError, match=r"differs from what the bundle knows.*embedding_layers"):
        add_task(tmp_path / "b", str(tmp_path / "other"), "other")
