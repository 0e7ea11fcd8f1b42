"""Tokenizers and chat templates of strangers: bounded in time, memory and length, and one line."""

import gc
import os
import re
import shutil
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from catalogue.command import time_limit
from chat_templates import CHATML, chat_tokenizer
from command_line import fails, succeeds
from conftest import BASE_ID, FLOAT32
from sealed_files import reseal
from strangers import CUT, HUGE, LIMITED, TEMPLATES, TOKENIZERS, padding, split, write_tokenizer
from tokenizers import Tokenizer

from hydraopt.confined import (
    Confined,
    ConfinedError,
    ConfinedTokenizer,
    catching_panics,
    try_tokenizer,
)
from hydraopt.errors import BundleError, DataError, LoweringError, TaskError, UsageError
from hydraopt.formats.chat import ChatTemplate
from hydraopt.formats.manifest import Manifest
from hydraopt.lowering.base_model import load_base
from hydraopt.lowering.chat import read_chat
from hydraopt.lowering.plan import make_plan
from hydraopt.runtime import Session, verify
from hydraopt.training.batches import encode, load_model

# ends an answer at once, unless it is told to think; as the templates of models that do
THINKING = CHATML + (
    "{% if add_generation_prompt and enable_thinking is defined and not enable_thinking %}"
    "{{ '[quick]\n' }}{% endif %}"
    "{% if effort is defined %}{{ '' + effort.level }}{% endif %}"
)
SLOW_FOR_X = {"pre_tokenizer": split("(?=(?:x|x){20}[cd])")}


def kinds(failing):
    """Parameters: what takes all the memory or time that it may is slow."""
    return [
        pytest.param(kind, marks=[pytest.mark.slow] if says == LIMITED else [])
        for kind, (_, says) in failing.items()
    ]


@pytest.fixture
def fine(tmp_path):
    return ConfinedTokenizer(write_tokenizer(tmp_path / "fine.json", {}))


@pytest.mark.parametrize("kind", kinds(TOKENIZERS))
def test_a_tokenizer_that_fails_is_refused_in_few_words(kind, tmp_path, capfd):
    changes, says = TOKENIZERS[kind]
    with pytest.raises(ConfinedError, match=says) as error:
        try_tokenizer(write_tokenizer(tmp_path / "tokenizer.json", changes))
    assert len(str(error.value)) <= 121
    assert capfd.readouterr() == ("", "")  # a panic prints, too


def test_a_tokenizer_that_lacks_characters_is_none_that_fails(tmp_path):
    model = {"type": "WordLevel", "unk_token": "<unk>", "vocab": {"Hi": 0}}
    path = write_tokenizer(tmp_path / "tokenizer.json", {"model": model})
    try_tokenizer(path)
    with pytest.raises(ConfinedError, match=r"Missing \[UNK\] token"):
        ConfinedTokenizer(path).encode("Grüße")


@pytest.mark.parametrize("changes", [{"padding": padding(HUGE)}, {"truncation": CUT}])
def test_a_confined_tokenizer_neither_pads_nor_cuts(changes, fine, tmp_path):
    tokenizer = ConfinedTokenizer(write_tokenizer(tmp_path / "other.json", changes))
    assert tokenizer.encode("a long text") == fine.encode("a long text")


def test_it_gives_what_the_library_gives(fine, tmp_path):
    library = Tokenizer.from_file(str(tmp_path / "fine.json"))
    text = "Grüße, 世界 🙂\n"
    ids = library.encode(text).ids
    assert fine.encode(text) == ids
    assert fine.decode([*ids, 257]) == library.decode(ids) == text
    assert fine.added([97], [98, 97]) == ("a", "ba")
    assert [fine.added([], [97, token]) for token in (257, 999)] == [(None, "a")] * 2


def test_threads_get_their_own_answers(fine):
    wrong = []

    def ask(letter):
        wrong.extend(x for x in range(50) if fine.encode(letter * x) != [ord(letter)] * x)

    threads = [threading.Thread(target=ask, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_after_a_fork_both_processes_have_one(fine):
    assert fine.encode("a") == [97]
    if (child := os.fork()) == 0:
        with suppress(BaseException):
            os._exit(fine.encode("b")[0])
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == ord("b")
    assert fine.encode("c") == [99]


def test_an_interrupted_question_leaves_no_late_answer(tmp_path):
    tokenizer = ConfinedTokenizer(write_tokenizer(tmp_path / "tokenizer.json", SLOW_FOR_X))
    with pytest.raises(KeyboardInterrupt), time_limit(0.3, KeyboardInterrupt):
        tokenizer.encode("x" * 3000)
    assert tokenizer.encode("ab") == [97, 98]


def test_the_process_ends_with_the_object(fine):
    fine.encode("a")
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    before = children.read_text().split()
    other = Confined()
    assert len(children.read_text().split()) == len(before) + 1
    del other
    gc.collect()
    assert children.read_text().split() == before


@pytest.mark.parametrize("kind", kinds(TEMPLATES))
def test_a_template_that_fails_is_no_template_and_a_line_that_tells_why(kind, warnings):
    template, says = TEMPLATES[kind]
    assert read_chat(chat_tokenizer(template)) == (None, None)
    (line,) = warnings
    assert line.startswith("the bundle has no chat template; the tokenizer's does not fit: ")
    assert re.search(says, line) and len(line) < 200 and "\n" not in line


def test_arguments_of_a_template_give_what_transformers_gives():
    tokenizer = chat_tokenizer(THINKING)
    arguments = {"enable_thinking": False, "effort": {"level": "low"}}
    chat, end = read_chat(tokenizer, arguments)
    assert chat.arguments == {"enable_thinking": "false", "effort": '{"level": "low"}'}
    turn = [{"role": "user", "content": "What?"}]
    given = {"add_generation_prompt": True, "tokenize": False, **arguments}
    assert chat.render("What?") == tokenizer.apply_chat_template(turn, **given)
    assert chat.suffix.endswith("[quick]\nlow")
    without, same_end = read_chat(tokenizer)
    assert "quick" not in without.suffix and end == same_end


@pytest.mark.parametrize(
    ("template", "arguments", "kind", "says"),
    [
        (THINKING, {"enable_thinkin": 1}, UsageError, r"no variable 'enable_thinkin', .* did you"),
        (
            THINKING,
            {"messages": []},
            UsageError,
            "messages of the chat template is set by",
        ),
        (THINKING, {"effort": object()}, UsageError, "'effort' of the chat template is not JSON"),
        (THINKING, {"effort": None}, LoweringError, r"fit with effort=null \('None' has no att"),
        (THINKING + "{{ n * 10**9 }}", {"n": "x"}, LoweringError, rf'n="x" \(({LIMITED})'),
        (None, {"enable_thinking": False}, LoweringError, "no chat template, expected one that"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(template, arguments, kind, says):
    with pytest.raises(kind, match=says):
        read_chat(chat_tokenizer(template), arguments)


def test_a_base_with_a_tokenizer_that_fails_is_refused_before_anything_else(base, tmp_path, capfd):
    shutil.copytree(base, tmp_path / "base")
    write_tokenizer(tmp_path / "base" / "tokenizer.json", TOKENIZERS["a damaged charsmap"][0])
    for load, kind in ((load_model, DataError), (lambda x: load_base(x, BASE_ID), LoweringError)):
        with pytest.raises(kind, match=r"cannot load base model .* \(index out of bounds"):
            load(str(tmp_path / "base"))
    assert capfd.readouterr().err == ""


def test_a_panic_in_this_process_is_an_error_without_its_own_words(tmp_path, capfd):
    changes, says = TOKENIZERS["a damaged charsmap"]
    tokenizer = Tokenizer.from_file(str(write_tokenizer(tmp_path / "tokenizer.json", changes)))
    with pytest.raises(ConfinedError, match=says), catching_panics():
        os.write(2, b"before\n")
        tokenizer.encode("Hi")
    with pytest.raises(KeyboardInterrupt), catching_panics():
        raise KeyboardInterrupt
    assert capfd.readouterr().err == "before\n"


def test_a_text_for_which_a_tokenizer_of_a_training_panics_is_a_line(base, tmp_path, capfd):
    shutil.copytree(base, tmp_path / "base")
    changes = {"pre_tokenizer": split("(?=(x+)+y)")}
    write_tokenizer(tmp_path / "base" / "tokenizer.json", changes)
    _, tokenizer = load_model(str(tmp_path / "base"))
    assert encode(tokenizer, [("Hi", "a")]) == [([72, 105], [97, 257])]
    with pytest.raises(DataError, match=r"tokenizer fails on a prompt or an answer \(Onig"):
        encode(tokenizer, [("Hi", "a"), ("x" * 40, "")])
    assert capfd.readouterr().err == ""


def test_a_template_of_gigabytes_is_not_read(base, tmp_path):
    shutil.copytree(base, tmp_path / "base")
    with (tmp_path / "base" / "chat_template.jinja").open("wb") as file:
        file.truncate(4 << 30)
    with pytest.raises(LoweringError, match="4,294,967,296 bytes, expected at most"):
        load_base(str(tmp_path / "base"), BASE_ID)


def with_tokenizer(bundle, directory, changes):
    """A bundle with another tokenizer, of which its manifest says that it is right."""
    shutil.copytree(bundle, directory)
    write_tokenizer(directory / "tokenizer.json", changes)
    reseal(directory / "manifest.json")
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["a charsmap of 4 GiB", "a pattern that is none"])
def test_a_bundle_whose_tokenizer_cannot_be_read_does_not_open(kind, bundle, tmp_path):
    changes, says = TOKENIZERS[kind]
    with pytest.raises(BundleError, match=rf"tokenizer.json is not a tokenizer \(.*({says})"):
        Session.open(with_tokenizer(bundle, tmp_path / "bundle", changes))


@pytest.mark.slow
def test_a_tokenizer_that_fails_for_a_text_fails_for_it_alone(bundle, tmp_path, capfd):
    session = Session.open(with_tokenizer(bundle, tmp_path / "bundle", SLOW_FOR_X))
    with pytest.raises(TaskError, match=rf"does not take the prompt \(it {LIMITED}.*token ids"):
        session.encode("x" * 3000)
    assert session.encode("ab") == [97, 98]
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_a_decoder_that_fails_is_a_line_and_verify_finds_it(bundle, tmp_path):
    changes, _ = TOKENIZERS["a decoder that strips a hundred characters"]
    directory = with_tokenizer(bundle, tmp_path / "bundle", changes)
    session = Session.open(directory)
    session.switch("alpha")
    with pytest.raises(TaskError, match=r"makes no text of the tokens \(index out of bounds"):
        session.decode([97])
    with pytest.raises(TaskError, match="makes no text of the tokens"):
        list(session.decode_stream([97, 97]))
    with pytest.raises(BundleError, match=r"is not a tokenizer \(index out of bounds"):
        verify(directory)


@pytest.mark.slow
def test_padding_and_truncation_of_a_bundle_are_none(bundle, tmp_path):
    changes = {"padding": padding(HUGE), "truncation": CUT}
    session = Session.open(with_tokenizer(bundle, tmp_path / "bundle", changes))
    assert session.encode("a long text") == list(b"a long text")


@pytest.mark.slow
def test_a_chat_without_thinking_is_exported_and_run(merged, chat_base, pieces_bundle, tmp_path):
    shutil.copytree(chat_base, tmp_path / "base")
    chat_tokenizer(THINKING).save_pretrained(tmp_path / "base")
    arguments = {"enable_thinking": False}
    plan = make_plan(merged, str(tmp_path / "base"), FLOAT32, chat_arguments=arguments)
    suffix = "<|im_end|>\n<|im_start|>assistant\n[quick]\n"
    chat = ChatTemplate("<|im_start|>user\n", suffix, False, {"enable_thinking": "false"})
    assert replace(plan.base.about["chat"], conversation=None) == chat
    bundle = shutil.copytree(pieces_bundle, tmp_path / "b")  # the same but for its chat
    manifest = Manifest.read(bundle)
    replace(manifest, model=replace(manifest.causal_lm, chat=chat)).write(bundle / "manifest.json")
    run = ("run", bundle, "--task", "beta", "--prompt", "Hi", "--max-new-tokens", 2)
    given = ("--chat-template-arg", "enable_thinking=false")
    assert succeeds(*run, "--chat", *given) == succeeds(*run, "--chat")
    other = fails(*run, "--chat", "--chat-template-arg", "enable_thinking=0", code=2)
    assert "false; export again with --chat-template-arg enable_thinking=0" in other
    more = fails(*run, "--chat", "--chat-template-arg", "effort=x", code=2)
    assert "was exported with no effort" in more
    assert "without --chat" in fails(*run, *given, code=2)
