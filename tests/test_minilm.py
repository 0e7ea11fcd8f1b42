"""A real encoder: trained classifiers in one program answer as PyTorch and PEFT do."""

from collections import Counter

import pytest
from minilm_heads import accuracy, measure, train_all
from minilm_texts import bag_of_words, tasks
from minilm_weights import PACKAGE, minilm
from run_rules import MachineLacksError

from hydraopt.errors import BaseModelError
from hydraopt.lowering.kinds.sentence import Sentence, read_sentence
from hydraopt.lowering.settings import ExportSettings
from hydraopt.packing import Coder


def test_words_alone_do_not_tell_the_classes():
    for task in tasks(900, 90).values():
        assert not {text for text, _ in task.training} & {text for text, _ in task.test}
        assert len(set(Counter(label for _, label in task.test).values())) == 1
        assert bag_of_words(task) < 1 / len(task.labels) + 0.2


@pytest.fixture(scope="module")
def base():
    try:
        return minilm()
    except BaseModelError as error:
        raise MachineLacksError(f"a real encoder needs {PACKAGE} of PyPI ({error})") from None


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory):
    return train_all(base, tmp_path_factory.mktemp("adapters"), steps=40, training=900, test=60)


@pytest.mark.slow
def test_embeddings_are_pooled_as_the_published_files_say(base):
    assert read_sentence(str(base)) == Sentence("mean", normalized=True, max_length=256)


@pytest.mark.slow
def test_adapters_and_heads_learn_their_tasks(trained):
    found = accuracy(trained, trained.logits)
    assert found["quantity"] > 0.85  # by chance 0.33
    assert found["request"] > 0.8  # by chance 0.5


@pytest.mark.slow
def test_a_program_within_a_budget_answers_as_pytorch_and_peft(trained, tmp_path):
    merged = Coder.from_adapters(trained.adapters).code(trained.adapters.fp16_bytes // 4)
    found = measure(trained, merged, ExportSettings("none"), tmp_path / "bundle")
    assert found["adapter_bytes"] <= trained.adapters.fp16_bytes // 4
    assert found["program_from_eager"]["classes"] == 0
    assert found["program_from_eager"]["logits"] < 1e-3
    # what `unmerge` writes is rounded to fp16, which may turn a text that is on the verge
    assert found["program_from_unmerged"]["logits"] < 0.02
    assert found["program_from_unmerged"]["classes"] <= 1
    trained_accuracy = accuracy(trained, trained.logits)
    for task, share in found["accuracy_program"].items():
        assert share > trained_accuracy[task] - 0.1
