"""Chat templates: texts around those of turns that give what transformers gives, or none."""

from functools import cache
from random import Random

import pytest
from chat_templates import (
    BOS,
    CHATML,
    DATED,
    END,
    GEMMA3,
    QWEN3,
    QWEN25,
    SMOLLM,
    SYSTEM,
    chat_tokenizer,
)
from tokenizers import Tokenizer

from hydraopt.confined import ConfinedTokenizer
from hydraopt.lowering.chat import read_chat
from hydraopt.lowering.tokenizer import load_tokenizer, save_tokenizer, stop_tokens

QUESTIONS = ("What is 3 + 4?", "zwei\nZeilen", " Übung ", "<|im_end|>", "", "{{ 1 }}")


@cache  # a process each
def read(template, **arguments):
    return read_chat(chat_tokenizer(template), arguments)


def chat_of(template, **arguments):
    return read(template, **arguments)[0]


def ends(template, generation):
    return stop_tokens(chat_tokenizer(template), generation, read(template)[1])


def turn(message):
    return [{"role": "user", "content": message}]


def test_chatml_is_two_strings():
    chat = chat_of(CHATML)
    assert chat.prefix == "<|im_start|>user\n"
    assert chat.suffix == "<|im_end|>\n<|im_start|>assistant\n"
    assert not chat.strip


def test_a_default_system_prompt_is_in_the_prefix():
    chat = chat_of(SMOLLM)
    assert chat.prefix == f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n"


def test_a_date_is_the_one_without_a_clock_and_white_space_goes_where_the_template_takes_it():
    chat = chat_of(DATED)
    assert chat.prefix == (
        "<bos><|im_start|>system\nToday is 26 Jul 2024\n\n<|im_end|><|im_start|>user\n"
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


# of published models, with variables that choose their form
FORMS = {
    "SmolLM2": (SMOLLM, {}),
    "Llama 3.2": (DATED, {}),
    "Qwen 2.5": (QWEN25, {}),
    "Qwen 3": (QWEN3, {}),
    "Qwen 3 without thinking": (QWEN3, {"enable_thinking": False}),
    "Gemma 3": (GEMMA3, {}),
}
TEXTS = (
    "Hi",
    "zwei\nZeilen",
    " Übung ",
    "\n\nx\n",
    "",
    "{{ 1 }}",
    "<think>\n\n</think>\n\nOk",
    "a</think>",
)


def conversations(count):
    """Messages and answers, alternately, and a system prompt or none."""
    random = Random(1)
    for _ in range(count):
        turns = random.choices(TEXTS, k=2 * random.randint(0, 6) + 1)
        turns[::2] = [turn or "?" for turn in turns[::2]]
        yield turns, random.choice([None, "You are short.", " Be kind.\n"])


def messages(turns, system):
    roles = [] if system is None else [{"role": "system", "content": system}]
    return roles + [
        {"role": ("user", "assistant")[index % 2], "content": turn}
        for index, turn in enumerate(turns)
    ]


@pytest.mark.parametrize("form", FORMS)
def test_conversations_have_the_text_and_ids_of_transformers(form, tmp_path):
    template, arguments = FORMS[form]
    tokenizer, chat = chat_tokenizer(template), chat_of(template, **arguments)
    tokenizer.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    confined = ConfinedTokenizer(tmp_path / "tokenizer.json")
    given = {"add_generation_prompt": True, "date_string": "26 Jul 2024", **arguments}
    for turns, system in conversations(200):
        asked = messages(turns, system)
        rendered = tokenizer.apply_chat_template(asked, tokenize=False, **given)
        assert chat.render(*turns, system=system) == rendered
        ids = tokenizer.apply_chat_template(asked, return_dict=False, **given)
        assert confined.encode_turns(chat.pieces(turns, system)) == ids
    confined.close()


def test_what_a_model_is_prompted_with_need_not_be_in_its_past_answers():
    quick = chat_of(QWEN3, enable_thinking=False)
    assert quick.suffix.endswith("assistant\n<think>\n\n</think>\n\n")
    between = quick.conversation
    assert between.answer.endswith("assistant\n")
    assert between.thoughts == ("<think>", "</think>")
    assert between.past("<think>\nHm\n</think>\n\n7 ") == "7 "
    assert chat_of(SMOLLM).conversation.past("<think></think>7") == "<think></think>7"


def test_a_system_prompt_may_be_a_part_of_the_first_message():
    assert chat_of(GEMMA3).conversation.system == ("<bos><|im_start|>user\n", "\n\n")
    assert chat_of(GEMMA3).pieces(["Hi"], " A\n")[:4] == [
        *("<bos><|im_start|>user\n", " A\n", "\n\n", "Hi")
    ]


def test_a_template_without_system_prompts_has_none():
    refusing = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + CHATML
    )
    assert chat_of(refusing).conversation.system is None
    assert chat_of(refusing).conversation.message == chat_of(CHATML).conversation.message


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("{{ messages | length }}", "it begins or ends otherwise than with one message"),
        ("{% if messages | length > 7 %}{{ 'long' }}{% endif %}", "changes a conversation of"),
        ("{% set messages = messages[-1:] %}", "has the turn 'hydraopt-message' 0 times"),
        ("{% if messages | length > 1 %}{{ raise_exception('one only') }}{% endif %}", "one only"),
    ],
)
def test_a_template_of_other_conversations_has_single_messages_alone(change, why, warnings):
    chat = chat_of(change + CHATML)
    assert chat.conversation is None
    assert chat.render("Hi").endswith(chat_of(CHATML).render("Hi"))
    (warning,) = warnings
    assert "the bundle's chat is one message and its answer" in warning
    assert why in warning


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
