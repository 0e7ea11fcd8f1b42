"""Chat templates: a prefix and a suffix that give what transformers gives, or none."""

from functools import cache

import pytest
from chat_templates import BOS, CHATML, DATED, END, SMOLLM, SYSTEM, chat_tokenizer
from tokenizers import Tokenizer

from hydraopt.formats.models import Chat
from hydraopt.lowering.chat import read_chat
from hydraopt.lowering.tokenizer import load_tokenizer, save_tokenizer, stop_tokens

QUESTIONS = ("What is 3 + 4?", "zwei\nZeilen", " Übung ", "<|im_end|>", "", "{{ 1 }}")


@cache  # a process each
def read(template):
    return read_chat(chat_tokenizer(template))


def chat_of(template):
    return read(template)[0]


def ends(template, generation):
    return stop_tokens(chat_tokenizer(template), generation, read(template)[1])


def turn(message):
    return [{"role": "user", "content": message}]


def test_chatml_is_two_strings():
    chat = chat_of(CHATML)
    assert chat == Chat("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", False)


def test_a_default_system_prompt_is_in_the_prefix():
    chat = chat_of(SMOLLM)
    assert chat.prefix == f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n"


def test_a_date_is_the_one_without_a_clock_and_white_space_goes_where_the_template_takes_it():
    chat = chat_of(DATED)
    assert chat.prefix == (
        "<bos><|im_start|>system\nToday is 26 Jul 2024<|im_end|><|im_start|>user\n"
    )
    assert chat.strip


@pytest.mark.parametrize("template", [CHATML, SMOLLM, DATED])
@pytest.mark.parametrize("message", QUESTIONS)
def test_text_and_ids_equal_those_of_transformers(template, message):
    tokenizer = chat_tokenizer(template)
    rendered = chat_of(template).render(message)
    given = {"add_generation_prompt": True, "date_string": "26 Jul 2024"}
    assert rendered == tokenizer.apply_chat_template(turn(message), tokenize=False, **given)
    ids = tokenizer.backend_tokenizer.encode(rendered, add_special_tokens=False).ids
    assert ids == tokenizer.apply_chat_template(turn(message), return_dict=False, **given)
    assert ids.count(BOS) == (template == DATED)


def test_no_template_is_none_without_a_word(warnings):
    assert read(None) == (None, None)
    assert read_chat(None) == (None, None)
    assert not warnings


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ messages[0].content | upper }}", "has the user's message 0 times, expected once"),
        ("{{ messages[0].content * 2 }}", "has the user's message 2 times"),
        ("{{ messages[0].content | replace('\n', ' ') }}", "changes the message 'two"),
        ("{{ messages[0].content | escape }}", "changes the message '{"),
        ("{{ raise_exception('a system prompt is needed') }}", "a system prompt is needed"),
        ("{{ strftime_now('%d') + messages[0].content }}", "'no_clock' is undefined"),
        ("{{ messages[0].content[0].text }}", "does not fit"),
        ("{% if %}", "does not fit"),
    ],
)
def test_a_template_that_is_no_prefix_and_suffix_is_none_with_the_reason(template, why, warnings):
    assert chat_of(template) is None
    (warning,) = warnings
    assert why in warning


def test_a_generation_ends_as_the_model_the_tokenizer_and_a_turn_do():
    assert ends(CHATML, (7, 9)) == (7, 9, 257, END)
    assert ends(DATED, (END, 257)) == (END, 257)
    assert ends(None, ()) == (257,)
    assert stop_tokens(None, (7,), None) == (7,)
    no_special_end = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
    assert ends(no_special_end, (7,)) == (7, 257)
    assert ends("{{ raise_exception('no') }}", (7,)) == (7, 257)


def test_the_file_neither_cuts_nor_pads(tmp_path):
    tokenizer = chat_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=6)
    tokenizer.save_pretrained(tmp_path / "base")
    save_tokenizer(load_tokenizer(str(tmp_path / "base")), tmp_path / "tokenizer.json")
    saved = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert saved.encode("a").ids == [BOS, ord("a")]
    assert len(saved.encode("a" * 9).ids) == 10


def test_a_base_without_a_tokenizer_has_none(tmp_path):
    (tmp_path / "empty").mkdir()
    assert load_tokenizer(str(tmp_path / "empty")) is None
    save_tokenizer(None, tmp_path / "tokenizer.json")
    assert not (tmp_path / "tokenizer.json").exists()
