"""The LLM zoo: texts read from their sources, split without overlap, and written as chats."""

import gzip
import json
from pathlib import Path

import pytest
import typer
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from chat_templates import SMOLLM, chat_tokenizer
from conftest import save_adapter
from llm_zoo import train, wordnet
from llm_zoo.__main__ import METHODS, command, summary
from llm_zoo.__main__ import main as zoo_main
from llm_zoo.catalogues import plain, translations
from llm_zoo.data import CALIBRATION, TEST, TRAIN, chat_prompt, short_pairs, write_some
from llm_zoo.dictionaries import number, translation, words
from llm_zoo.examples import TEST_SHARE, Example, key, split
from llm_zoo.program import compared
from llm_zoo.tasks import TASKS, Task
from llm_zoo.train import Recipe, batches, named_tasks, recipe
from llm_zoo.wordnet import Noun, nouns, questions
from typer.testing import CliRunner

from hydraopt.adapters import TASK_NAME, read_adapters
from hydraopt.cli.app import app
from hydraopt.evaluation.generated import chrf

STRINGS = {
    "_Open": "Ö_ffnen",
    "Open": "Öffnen",
    "Search & replace": "Suchen & ersetzen",
    "%d files": "%d Dateien",
    "<b>Bold</b>": "<b>Fett</b>",
    "Name": "Name",
    "OK": "Gut",
    "Untranslated": "",
}


def test_catalogues_give_plain_strings_without_shortcuts(tmp_path):
    catalogue = Catalog(locale="de")
    for source, answer in STRINGS.items():
        catalogue.add(source, answer)
    catalogue.add(("a file", "many files"), ("eine Datei", "viele Dateien"))
    path = tmp_path / "usr/share/locale/de/LC_MESSAGES/x.mo"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        write_mo(file, catalogue)
    found = [(example.question, example.answer) for example in translations(tmp_path, "de")]
    opened = ("Open", "Öffnen")
    assert sorted(found) == [opened, opened, ("Search & replace", "Suchen & ersetzen")]
    assert not [*translations(tmp_path, "fr")]
    assert plain("Datei(_F) öffnen") == "Datei öffnen"
    assert plain("&File") == "File"


def test_dictionaries_give_the_first_translation(tmp_path):
    entries = {
        "00databaseshort": "English-Dutch\nversion 1\n",
        "lack": "lack /læk/\n1. derven, missen\n2. gebrek\n",
        "lad": "lad /læd/\njongen <masc> [coll.]\n",
        "radio": "radio /r/\nradio\n",
        "odd": "odd /ɔd/\n(un)even; 3\n",
        "é": "é\nx\n",
        "empty": "empty /e/\n",
    }
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    index, text = [], b""
    for word, entry in entries.items():
        start, length = len(text), len(entry.encode())
        places = [digits[x // 64] + digits[x % 64] for x in (start, length)]
        index.append("\t".join([word, *places]))
        text += entry.encode()
    directory = tmp_path / "usr/share/dictd"
    directory.mkdir(parents=True)
    (directory / "freedict-eng-nld.dict.dz").write_bytes(gzip.compress(text))
    (directory / "freedict-eng-nld.index").write_text("\n".join(index))
    found = {example.question: example.answer for example in words(tmp_path, "nld")}
    assert found == {"lack": "derven", "lad": "jongen"}
    assert [number(x) for x in ("A", "BA", "Bb", "+/")] == [0, 64, 91, 62 * 64 + 63]
    assert translation("a\nlady‐in‐waiting\n") == "lady-in-waiting"


NOUNS = """\
  1 the licence of this file
00000001 03 n 01 entity 0 001 ~ 00000002 n 0000 | that which exists; "an entity"
00000002 05 n 0a cat 0 true_cat 0 {more} 001 @ 00000001 n 0000 | feline mammal; "the cat sat"
00000003 18 n 02 gossip 0 cat 1 001 @ 00000001 n 0000 | a person who gossips
00000004 18 n 01 Rome 0 001 @i 00000001 n 0000 | a city
""".replace("{more}", " ".join(f"c{i} 0" for i in range(8)))
INDEX = """\
  1 the licence of this file
cat n 2 2 @ ~ 2 1 00000002 00000003
entity n 1 1 ~ 1 1 00000001
gossip n 1 1 @ 1 0 00000003
rome n 1 1 @ 1 0 00000004
"""


def test_wordnet_gives_first_senses(tmp_path):
    directory = tmp_path / "usr/share/wordnet"
    directory.mkdir(parents=True)
    (directory / "data.noun").write_text(NOUNS)
    (directory / "index.noun").write_text(INDEX)
    found = nouns(tmp_path)
    assert found == [
        Noun("entity", "", "other", "that which exists"),
        Noun("cat", "true cat", "animal", "feline mammal"),
        Noun("gossip", "cat", "person", "a person who gossips"),
    ]
    assert [*questions(found, "synonym")] == [
        Example("cat", "cat", "true cat"),
        Example("gossip", "gossip", "cat"),
    ]
    assert [*questions(found, "word")][1] == Example("cat", "feline mammal", "cat")
    assert len(wordnet.FILES) == 26


def test_the_split_has_no_overlap_and_is_the_same_for_all_tasks():
    texts = [f"text {i}" for i in range(4000)]
    examples = [Example(text, f"{text} ?", "a") for text in texts]
    training, test = split(examples)
    assert len(training) + len(test) == len(examples)
    assert len(test) == pytest.approx(len(examples) / TEST_SHARE, rel=0.2)
    # another task that asks about the same texts, in another order
    others = split(Example(text.upper() + "…", f"Say {text}", "b") for text in reversed(texts))
    sources = [
        [{key(x.source) for x in side} for side in sides] for sides in (others, split(examples))
    ]
    assert sources[0] == sources[1]
    assert not sources[0][0] & sources[0][1]
    assert split(reversed(examples)) == (training, test)


def test_equal_questions_count_once():
    examples = [Example("Open", "Open", "a"), Example("open…", "open…", "b")]
    assert sum(map(len, split(examples))) == 1
    assert examples[0] in [x for side in split(examples) for x in side]


def test_prompts_are_chats_and_long_ones_are_left_out():
    tokenizer = chat_tokenizer(SMOLLM)
    task = Task("Do.", lambda _: ())
    expected = "<|im_start|>system\nDo.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
    assert chat_prompt(tokenizer, "Do.", "hi") == f"{expected}<|im_start|>assistant\n"
    texts = (("a", "b" * 24), ("a" * 70, "b"), ("c", "b" * 23), ("d", "b"), ("e", "b"))
    found = short_pairs(tokenizer, task, [Example(q, q, a) for q, a in texts], 2)
    assert [answer for _, answer in found] == ["b" * 23, "b"]
    assert found[1][0] == chat_prompt(tokenizer, "Do.", "d")


def test_there_are_many_applications_and_languages():
    assert len(TASKS) == 16
    assert len({name.split("-")[0] for name in TASKS}) == 8
    assert len({name.split("-")[1] for name in TASKS}) == 9
    assert all(TASK_NAME.fullmatch(name) for name in TASKS)


@pytest.fixture
def small_data(tmp_path) -> Path:
    """Three files of short examples of every task."""
    directory = tmp_path / "data"
    directory.mkdir()
    lines = [
        {"task": task, "prompt": prompt, "answer": "ab"} for task in TASKS for prompt in "pqrs"
    ]
    for name in (TRAIN, TEST, CALIBRATION):
        (directory / name).write_text("\n".join(map(json.dumps, lines)))
    return directory


def test_adapters_are_trained_once(tmp_path, monkeypatch, base, small_data):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(train, "recipe", lambda _: Recipe(2, ("down_proj",), 40, 2, 0.05))
    directory = train.adapter("ui-de", base, small_data)
    assert read_adapters([f"ui-de={directory}"]).shapes.keys() == {"model.layers.0.mlp.down_proj"}
    log = json.loads((directory / train.LOG).read_text())
    assert log["test_loss_after"] < 0.9 * log["test_loss_before"]
    assert (log["steps"], len(log["losses"])) == (40, 40)

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train", stopped)
    assert train.adapter("ui-de", base, small_data) == directory
    with pytest.raises(KeyboardInterrupt):
        train.adapter("ui-fr", base, small_data)
    assert not [*directory.parents[1].glob("ui-fr/*/*")]  # a stopped one is not there


def test_batches_hold_each_row_once_beside_rows_of_similar_length():
    rows = [([1] * length, [2, 3]) for length in range(1, 90)]
    found = batches(rows, 8)
    prompts = [[(row >= 0).int().argmax().item() for row in labels] for _, labels in found]
    assert sorted(length for batch in prompts for length in batch) == [*range(1, 90)]
    assert all(max(batch) - min(batch) < 8 for batch in prompts)
    assert prompts != sorted(prompts)


def test_recipes_differ_in_rank_and_layers():
    assert sum(recipe(task).rank == 32 for task in TASKS) == 4
    assert sum(len(recipe(task).targets) == 7 for task in TASKS) == 4


def test_an_unknown_task_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert named_tasks("ui-de,word-en") == ["ui-de", "word-en"]
    for program, options in ((zoo_main, ["-o", str(tmp_path / "out")]), (train.main, [])):
        command_line = typer.Typer()
        command_line.command()(program)
        done = CliRunner().invoke(command_line, [*options, "--tasks", "ui-de,ui-xx"])
        assert done.exit_code == 2
        assert "no task 'ui-xx'" in done.output
        assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_frontier_takes_what_was_trained(tmp_path, base, small_data):
    """Adapters that differ in rank and layers, by the command that `make llm` runs."""
    settings = [{"r": 4}, {"r": 8}, {"r": 4}]
    for name, kept in zip(("ui-de", "ui-es", "ui-fr"), settings, strict=True):
        targets = train.LINEAR if name == "ui-fr" else train.ATTENTION
        save_adapter(tmp_path / name, target_modules=list(targets), **kept)
        log = {"task": name, "steps": 3, "losses": [3.0, 2.0]}
        (tmp_path / name / train.LOG).write_text(json.dumps(log))
    adapters = {name: tmp_path / name for name in ("ui-de", "ui-es", "ui-fr")}
    write_some(small_data, adapters, small_data)
    lines = (small_data / CALIBRATION).read_text().splitlines()
    assert {json.loads(line)["task"] for line in lines} == {*adapters}
    budgets = "30,60"  # three tiny adapters share little
    program, *arguments = command(
        tmp_path / "out", base, small_data, adapters, METHODS, budgets, jobs=1
    )
    assert Path(program).name == "hydraopt"
    app(arguments, standalone_mode=False)
    points = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {point["series"] for point in points} == {"unmerged", "base model", *METHODS.split(",")}
    assert [point["label"] for point in points[1:4]] == ["base model", "30 %", "60 %"]
    assert all(point["chrf"].keys() == adapters.keys() for point in points)
    assert summary(adapters)[0] == {"task": "ui-de", "steps": 3}


def test_texts_of_the_program_are_compared_without_the_end():
    program = {"a": [[1, 2], [3]], "b": [[4]]}
    peft = {"a": [[1, 2, 9], [3, 3, 9]], "b": [[4, 9]]}
    answers = {"a": ["12", "3"], "b": ["four"]}
    found = compared(program, peft, [9], answers, lambda ids: "".join(map(str, ids)))
    assert (found["equal"], found["of"]) == (2, 3)
    assert found["tasks"]["a"] == {
        "equal": 1,
        "of": 2,
        "program_chrf": chrf(["12", "3"], answers["a"]),
        "peft_chrf": chrf(["12", "33"], answers["a"]),
    }
    assert found["program_chrf"] == sum(x["program_chrf"] for x in found["tasks"].values()) / 2
