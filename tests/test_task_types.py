"""Task types: adapters say what kind of model they are for, and another kind is refused."""

from dataclasses import replace

import pytest
from conftest import BASE_ID, FLOAT32, random_set, save_adapter, tiny_llama
from encoders import bert_config, save_base, save_lora, tiny_bert, tiny_vit
from peft import TaskType
from transformers import (
    BertForQuestionAnswering,
    BertLMHeadModel,
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
)

from hydraopt.adapters import AdapterSet, read_adapter, read_adapters
from hydraopt.bundles import add_task
from hydraopt.errors import AdapterError, DataError, HydraOptError, LoweringError
from hydraopt.evaluation import Evaluator
from hydraopt.lowering.base_model import load_base
from hydraopt.lowering.bundle import export_bundle
from hydraopt.merging.private import private
from hydraopt.packing import code_verbatim, open_stored
from hydraopt.training import CalibrationData

MODELS = {"causal_lm": tiny_llama, "encoder": tiny_bert, "image": tiny_vit}
SERVED = {  # base and task type of its adapters -> what the base is to them
    ("causal_lm", "CAUSAL_LM"): "causal_lm",
    ("causal_lm", "FEATURE_EXTRACTION"): "encoder",
    ("encoder", "FEATURE_EXTRACTION"): "encoder",
    ("image", "FEATURE_EXTRACTION"): "image",
}
LACKING = {  # it fits, but neither side has classes
    *{("encoder", "SEQ_CLS"), ("image", "SEQ_CLS")},
    *{("encoder", "TOKEN_CLS"), ("causal_lm", "TOKEN_CLS")},
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    root = tmp_path_factory.mktemp("bases")
    return {kind: str(save_base(make(), root / kind)) for kind, make in MODELS.items()}


def typed(*types) -> AdapterSet:
    adapters = random_set(len(types)).adapters
    return AdapterSet(replace(x, task_type=t) for x, t in zip(adapters, types, strict=True))


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("task_type", [*(x.value for x in TaskType), None])
def test_each_kind_takes_the_task_types_that_its_program_serves(bases, kind, task_type):
    served = kind if task_type is None else SERVED.get((kind, task_type))
    if served:
        assert load_base(bases[kind], BASE_ID, task_type).kind.name == served
        return
    with pytest.raises(LoweringError) as refused:
        load_base(bases[kind], bases[kind], task_type)
    assert "\n" not in str(refused.value)
    if (kind, task_type) in LACKING:
        assert "lacks 2 weights" in str(refused.value)
    else:
        assert f"task_type is {task_type} (for" in str(refused.value)
        assert f"but the base model is of kind {kind}, expected" in str(refused.value)


def test_a_task_type_that_no_program_serves_has_its_own_next_step(bases):
    step = r"for the span of an answer in a text\), .*train adapters of another task type"
    with pytest.raises(LoweringError, match=step):
        load_base(bases["encoder"], bases["encoder"], "QUESTION_ANS")
    with pytest.raises(LoweringError, match="pass a base model of kind causal_lm, on which"):
        load_base(bases["encoder"], bases["encoder"], "CAUSAL_LM")


@pytest.mark.parametrize(
    ("make", "task_type", "kind", "message"),
    [
        (BertForQuestionAnswering, "QUESTION_ANS", "encoder", "for the span of an answer"),
        (BertLMHeadModel, "CAUSAL_LM", "encoder", r"for continuations of texts\), but the base"),
        (LlamaForQuestionAnswering, "QUESTION_ANS", "causal_lm", "for the span of an answer"),
        (
            LlamaForSequenceClassification,
            "SEQ_CLS",
            "causal_lm",
            "text classification by a causal LM",
        ),
    ],
)
def test_what_peft_trains_for_another_kind_is_refused_by_its_task(
    bases, tmp_path, make, task_type, kind, message
):
    config = bert_config(is_decoder=True) if "Bert" in make.__name__ else tiny_llama().config
    config.num_labels = 2
    targets = ["query"] if "Bert" in make.__name__ else ["q_proj"]
    save_lora(tmp_path / "a", make(config), BASE_ID, 1, task_type=task_type, target_modules=targets)
    with pytest.raises(HydraOptError, match=message):
        export_bundle(
            private(read_adapters([tmp_path / "a"])), bases[kind], tmp_path / "out", FLOAT32
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("coded", [False, True])
def test_an_export_of_merged_or_coded_adapters_asks_for_their_kind(bases, tmp_path, coded):
    merged = private(typed("QUESTION_ANS", "QUESTION_ANS"))
    (code_verbatim(merged) if coded else merged).save(tmp_path / "merged")
    with pytest.raises(LoweringError, match="the adapters' task_type is QUESTION_ANS"):
        export_bundle(
            open_stored(tmp_path / "merged"), bases["causal_lm"], tmp_path / "out", FLOAT32
        )
    assert not (tmp_path / "out").exists()


def test_adapters_of_two_task_types_do_not_belong_together():
    assert typed(None, "SEQ_CLS", None).task_type == "SEQ_CLS"
    assert typed(None, None).task_type is None
    with pytest.raises(
        AdapterError, match="'task2' has task_type TOKEN_CLS, expected SEQ_CLS as 'task1' has"
    ):
        typed(None, "SEQ_CLS", "TOKEN_CLS")


def test_prompts_and_answers_are_for_adapters_that_write_texts(bases):
    adapters, pairs = typed("SEQ_CLS"), {"task0": [("one", "x")]}
    with pytest.raises(DataError, match=r"task_type is SEQ_CLS.*pass a base model of kind encoder"):
        CalibrationData.load(bases["causal_lm"], pairs).check(adapters, labels=True)
    with pytest.raises(DataError, match="task_type is SEQ_CLS"):
        Evaluator.load(bases["causal_lm"], pairs).unmerged(adapters)


@pytest.mark.slow
def test_a_bundle_takes_no_adapter_for_another_kind(bundle, tmp_path):
    save_adapter(tmp_path / "asked")
    config = tmp_path / "asked" / "adapter_config.json"
    config.write_text(config.read_text().replace("CAUSAL_LM", "QUESTION_ANS"))
    assert read_adapter(tmp_path / "asked").task_type == "QUESTION_ANS"
    with pytest.raises(AdapterError, match=r"task_type is QUESTION_ANS.*of kind causal_lm"):
        add_task(bundle, str(tmp_path / "asked"), "asked")
