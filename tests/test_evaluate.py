"""``hydraopt evaluate``: a bundle's scores are those of its model; wrong inputs are one line."""

import json
import sys
from pathlib import Path

import pytest
import torch
from command_line import fails, succeeds
from conftest import save_adapter
from encoders import HEADS
from PIL import Image
from torch.nn.functional import cross_entropy

from hydraopt.adapters import read_adapters
from hydraopt.compression import compress
from hydraopt.errors import DataError, TaskError
from hydraopt.evaluation import adapted
from hydraopt.evaluation.generated import chrf
from hydraopt.evaluation.program import Evaluation, evaluate
from hydraopt.evaluation.program.examples import encode_examples, read_lines_of
from hydraopt.evaluation.program.scores import Scored, judged
from hydraopt.runtime import Session
from hydraopt.training import encode, load_model
from hydraopt.zoo import ADAPTERS, BASE
from hydraopt.zoo.tasks import test_examples as zoo_examples

pytestmark = pytest.mark.slow

PAIRS = [("one", "x"), ("two four", "yz"), ("three", "drei"), ("a", "größer")]
ZOO_TASKS = ("money-de", "words-pl")
TASKS = ("alpha", "gamma")  # beta has no examples


def save_lines(path: Path, *lines: tuple[str, str, str]) -> Path:
    """JSON lines of task, prompt and answer."""
    keys = ("task", "prompt", "answer")
    path.write_text("\n".join(json.dumps(dict(zip(keys, x, strict=True))) for x in lines))
    return path


@pytest.fixture(scope="module")
def answered(bundle, tmp_path_factory) -> Path:
    """Examples of two tasks; of each task's the session answers some right."""
    session, lines = Session.open(bundle), []
    for task in TASKS:
        session.switch(task)
        lines += [(task, *pair) for pair in PAIRS]
        for prompt in map(chr, range(33, 127)):  # the tiny Llama says what is no text, mostly
            (token,) = session.generate_ids(session.encode(prompt), 1) or (0,)
            if 32 < token < 127:
                lines.append((task, prompt, chr(token)))
    assert len(lines) > 2 * len(PAIRS)
    return save_lines(tmp_path_factory.mktemp("evaluate") / "test.jsonl", *lines)


def pairs_of(path: Path, task: str) -> list[tuple[str, str]]:
    lines = map(json.loads, path.read_text().splitlines())
    return [(x["prompt"], x["answer"]) for x in lines if x["task"] == task]


@pytest.mark.parametrize("kind", ["bundle", "methods_bundle", "static_bundle"])
def test_forced_scores_are_those_of_transformers(kind, answered, base, merged, averaged, request):
    """Tokens as training encodes them, on the base in transformers with the bundle's factors."""
    model, tokenizer = load_model(str(base))
    stored = averaged if kind == "static_bundle" else merged
    found = evaluate(request.getfixturevalue(kind), answered)
    assert found.scored["program"].tasks.keys() == {*TASKS}
    for task, scores in found.scored["program"].tasks.items():
        right = nats = count = 0
        with adapted(model, stored.task_factors(task)), torch.no_grad():
            for prompt, answer in encode(tokenizer, pairs_of(answered, task)):
                ids, wanted = torch.tensor([prompt + answer]), torch.tensor(answer)
                logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
                right += int((logits.argmax(-1) == wanted).sum())
                nats += cross_entropy(logits, wanted, reduction="sum").item()
                count += len(answer)
        assert scores["tokens"] == right / count
        assert scores["nats"] == pytest.approx(nats / count, rel=1e-3)
    assert 0 < found.scored["program"].means["tokens"] < 1 or kind == "static_bundle"


@pytest.fixture(scope="module")
def zoo_pair(exported) -> Path:
    """Two tasks of the zoo, which say what is wanted."""
    directories = [ADAPTERS / task for task in ZOO_TASKS]
    return exported("zoo-pair", lambda: compress(read_adapters(directories), "60%"), BASE)


def test_texts_are_those_that_the_session_generates(zoo_pair, tmp_path):
    lines = [(task, *pair) for task in ZOO_TASKS for pair in zoo_examples(task, 6)]
    wrong = ("money-de", lines[0][1], "1 euro")  # the same prompt as the first
    data = save_lines(tmp_path / "test.jsonl", *lines, wrong)
    found, session = evaluate(zoo_pair, data), Session.open(zoo_pair)
    for task, scores in found.scored["program"].tasks.items():
        pairs = pairs_of(data, task)
        longest = max(len(answer.encode()) for _, answer in pairs) + 1  # bytes, and the end
        session.switch(task)
        texts = [session.generate(prompt, longest) for prompt, _ in pairs]
        answers = [answer for _, answer in pairs]
        hits = sum(text == answer for text, answer in zip(texts, answers, strict=True))
        assert scores["exact"] == hits / len(pairs) > 0
        assert scores["chrf"] == pytest.approx(chrf(texts, answers))
        assert found.examples[task] == len(pairs)
    assert found.scored["program"].tasks["money-de"]["exact"] < 1
    assert found.worst == {"program": "money-de"}


def test_a_float_program_of_the_very_adapters_keeps_everything(
    bundle, base, merged, answered, tmp_path
):
    for task in TASKS:
        merged.to_peft(task, tmp_path / task)
    sources = [str(tmp_path / task) for task in TASKS]
    found = evaluate(bundle, answered, base=str(base), adapters=sources)
    assert found.kept == dict.fromkeys(TASKS, 100)
    assert found.mean_kept == 100
    program, reference = (found.scored[run].tasks for run in ("program", "float"))
    for task in TASKS:
        assert program[task] == pytest.approx(reference[task], rel=1e-3)


def test_prompt_and_answer_have_the_tokens_of_training(pieces_bundle, chat_base, tmp_path):
    """By a tokenizer that begins every text with a token."""
    data = save_lines(tmp_path / "test.jsonl", *(("alpha", *pair) for pair in PAIRS[:2]))
    session, (_, tokenizer) = Session.open(pieces_bundle), load_model(str(chat_base))
    lines = read_lines_of(data, session.manifest)

    (found,) = encode_examples(session, data, lines).values()
    assert [(x.prompt, x.answer) for x in found] == encode(tokenizer, PAIRS[:2])


def test_a_prompt_of_a_chat_is_a_turn_of_the_template(pieces_bundle, chat_base, tmp_path):
    data = save_lines(tmp_path / "test.jsonl", ("alpha", "one", "x"))
    session, (_, tokenizer) = Session.open(pieces_bundle), load_model(str(chat_base))
    lines = read_lines_of(data, session.manifest)
    ((found,),) = encode_examples(session, data, lines, chat=True).values()
    message = [{"role": "user", "content": "one"}]
    wanted = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=False)
    assert found.prompt == wanted
    assert found.answer == [ord("x"), tokenizer.eos_token_id]


def test_any_end_token_is_a_right_end():
    logits = torch.tensor([[0.0, 3.0, 0.0, 0.0], [0.0, 0.0, 1.0, 2.0]])
    chances = logits.double().log_softmax(-1)
    right, nats = judged(logits, [1, 2], ends=[2, 3])
    assert right == 2
    assert nats == pytest.approx(-chances[0, 1].item() - chances[1, 2:].logsumexp(0).item())
    assert judged(logits, [1, 2], ends=[2])[0] == 1
    assert judged(logits, [1, 2], ends=[])[0] == 1  # an answer without an end


def test_means_are_over_tasks_and_the_worst_ones_are_named():
    def scored(*tokens: float) -> Scored:
        return Scored({task: {"tokens": x} for task, x in zip("abc", tokens, strict=True)})

    examples = dict.fromkeys("abc", 1)
    runs = {"program": scored(0.2, 0.6, 0.4), "float": scored(0.2, 0.8, 0)}
    found = Evaluation("bundle", examples, runs)
    assert found.kept == {"a": 100, "b": pytest.approx(75), "c": None}  # 0: no ratio
    assert found.mean_kept == pytest.approx(87.5)
    assert found.worst == {"program": "a", "float": "c", "s": "b"}
    assert found.record()["mean"]["program"]["tokens"] == pytest.approx(0.4)
    assert Evaluation("bundle", examples, {"program": runs["program"]}).kept == {}


def test_another_bundle_is_scored_on_the_same_examples(bundle, other_bundle, answered):
    found, alone = (
        evaluate(bundle, answered, against=other_bundle),
        evaluate(other_bundle, answered),
    )
    assert found.scored["against"] == alone.scored["program"]
    assert found.scored["against"] != found.scored["program"]


def test_a_classifier_has_accuracy(classifiers, tmp_path):
    bundle, tasks = classifiers / "bundle", ("topic", "mood")
    session = Session.open(bundle)
    texts = [f"a text {letter}" for letter in "abcdefgh"]
    lines = []
    for task in tasks:
        session.switch(task)
        classes = [int(session.run(text).argmax()) for text in texts]
        wrong = [(x + 1) % HEADS[task] if i < 2 else x for i, x in enumerate(classes)]
        lines += [(task, text, str(x)) for text, x in zip(texts, wrong, strict=True)]
    data = save_lines(tmp_path / "test.jsonl", *lines)
    adapters = [str(classifiers / task) for task in tasks]
    found = evaluate(bundle, data, base=str(classifiers / "base"), adapters=adapters)
    for run in ("program", "float"):
        assert found.scored[run].right == {"topic": 6 / 8, "mood": 6 / 8}
        assert found.scored[run].measures == ("accuracy",)
    assert found.mean_kept == 100
    for answer in ("5", "-1", "mood", "9" * 5000):
        save_lines(data, ("topic", "a", answer))
        with pytest.raises(DataError, match=r"line 1: answer '.*', expected a class, 0 to 4"):
            evaluate(bundle, data)


def test_the_command_prints_draws_and_gives_json(bundle, base, merged, answered, tmp_path):
    for task in TASKS:
        merged.to_peft(task, tmp_path / task)
    sources = [x for task in TASKS for x in ("--adapters", tmp_path / task)]
    command = ("evaluate", bundle, "--examples", answered, "--base", base, *sources)
    printed = succeeds(*command, "-o", tmp_path / "scores.png")
    record = json.loads(succeeds(*command, "--json"))
    assert record["tasks"].keys() == {*TASKS}
    assert record["tasks"]["alpha"].keys() == {"examples", "program", "float", "s"}
    assert record["mean"]["s"] == 100
    share = 100 * record["tasks"]["alpha"]["program"]["tokens"]
    assert f"{share:.1f}" in printed
    assert f"worst task: {record['worst']['program']}" in printed
    assert "chrF" in printed and "S %" in printed
    with Image.open(tmp_path / "scores.png") as picture:
        assert picture.format == "PNG" and picture.width > picture.height > 100


def test_without_sacrebleu_one_sentence_says_that_chrf_is_left_out(
    bundle, answered, monkeypatch, warnings
):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)  # as if it were not installed
    found = evaluate(bundle, answered)
    assert found.scored["program"].measures == ("tokens", "nats", "exact")
    assert warnings == ["chrF is left out: it needs sacrebleu, pip install 'hydraopt[frontier]'"]


def test_a_wrong_input_is_one_line(bundle, static_bundle, base, adapter_dirs, tmp_path):
    data, fine = tmp_path / "data.jsonl", ("alpha", "one", "x")
    stranger = tmp_path / "alpha"
    save_adapter(stranger, base_id="other/base")
    on_base = ("--base", base, "--adapters")
    for lines, options, message, code in (
        (
            (fine, ("delta", "a", "b")),
            (),
            "line 2: no task is named 'delta'; expected one of al",
            1,
        ),
        ((fine, ("beta", "a", "")), (), "line 2 has no text 'answer'", 1),
        ((), (), "is empty", 1),
        (
            (("alpha", "a" * 30, "bb"),),
            (),
            "33 tokens of prompt and answer, expected at most 32",
            1,
        ),
        ((fine,), ("--chat",), "has no chat template", 1),
        ((fine,), ("--examples", tmp_path / "none"), "No such file", 1),
        ((fine,), ("--base", base), "pass both", 2),
        ((fine,), ("--adapters", adapter_dirs[0]), "pass both", 2),
        ((fine,), (*on_base, stranger), "are for base model 'other/base', expected 'tests/t", 1),
        ((fine,), (*on_base, adapter_dirs[1]), "task 'alpha' has examples and no adapter", 1),
        ((fine,), (*on_base, f"delta={adapter_dirs[0]}"), "no task 'delta'; there are: alpha", 1),
        ((fine,), ("--base", tmp_path, "--adapters", adapter_dirs[0]), "base model", 1),
        ((fine,), ("--against", tmp_path), "manifest.json is missing", 1),
        ((fine,), ("-o", tmp_path / "scores.jpg"), "does not end in .png", 2),
        ((fine,), ("-o", tmp_path / "none" / "scores.png"), "there is no directory", 1),
    ):
        save_lines(data, *lines)
        error = fails("evaluate", bundle, "--examples", data, *options, code=code)
        assert message in error and error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"data.jsonl", "alpha"}


def test_a_bundle_of_other_tasks_is_not_compared(bundle, zoo_pair, tmp_path):
    data = save_lines(tmp_path / "data.jsonl", ("alpha", "one", "x"))
    with pytest.raises(TaskError, match=r"no task 'alpha'; there are: .*of the same tasks"):
        evaluate(bundle, data, against=zoo_pair)


def test_a_file_that_is_there_stays(bundle, answered, tmp_path):
    picture = tmp_path / "scores.png"
    picture.write_bytes(b"a photo")
    error = fails("evaluate", bundle, "--examples", answered, "-o", picture)
    assert "scores.png exists already" in error
    assert picture.read_bytes() == b"a photo"
