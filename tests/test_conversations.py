"""Conversations: transformers' tokens for the template's whole text; what ends them."""

import shutil
from dataclasses import replace
from functools import cache
from itertools import takewhile

import pytest
import torch
from chat_templates import CHATML, DATED, GEMMA3, QWEN3, SMOLLM, chat_tokenizer
from exports import CONTEXT
from transformers import AutoModelForCausalLM, AutoTokenizer

from hydraopt.errors import ContextFullError, TaskError, UsageError
from hydraopt.evaluation import adapted
from hydraopt.formats.manifest import Manifest
from hydraopt.lowering.chat import read_chat
from hydraopt.runtime import End, Sampling, Session

pytestmark = pytest.mark.slow

MESSAGES = ("Hi", "What is 3 + 4?", " zwei\nZeilen", "Why?", "{}", "And then?")
FORMS = {
    "SmolLM2": (SMOLLM, {}),
    "Llama 3.2": (DATED, {}),
    "Qwen 3 without thinking": (QWEN3, {"enable_thinking": False}),
    "Gemma 3": (GEMMA3, {}),
}


@cache
def template(source, **arguments):
    return read_chat(chat_tokenizer(source), arguments)[0]


@pytest.fixture
def opened(conversations_bundle, tmp_path):
    """A session of the bundle, as it would be with another chat template."""

    def open_bundle(source=CHATML, max_length=CONTEXT, **arguments):
        copy = shutil.copytree(conversations_bundle, tmp_path / "bundle")
        manifest = Manifest.read(copy)
        model = replace(
            manifest.causal_lm, chat=template(source, **arguments), max_length=max_length
        )
        replace(manifest, model=model).write(copy / "manifest.json")
        session = Session.open(copy)
        session.switch("beta")
        return session

    return open_bundle


def counted(session):
    """The numbers of tokens that are given to the program, call by call."""
    counts, forward = [], session.forward

    def counting(ids):
        counts.append(len(ids))
        return forward(ids)

    session.forward = counting
    return counts


def common(first, second):
    return sum(1 for _ in takewhile(lambda x: x[0] == x[1], zip(first, second, strict=False)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("system", [None, "Be kind."])
def test_answers_are_those_to_the_whole_text_and_only_new_tokens_are_computed(
    opened, conversations_base, merged, form, system
):
    source, arguments = FORMS[form]
    session = opened(source, **arguments)
    counts, eos = counted(session), list(session.manifest.causal_lm.eos_ids)
    tokenizer = AutoTokenizer.from_pretrained(conversations_base)
    tokenizer.chat_template = source
    model = AutoModelForCausalLM.from_pretrained(conversations_base, dtype=torch.float32).eval()
    chat, cached = session.chat(system), []
    history = [{"role": "system", "content": system}] if system else []
    with adapted(model, merged.task_factors("beta")):
        for message in MESSAGES:
            counts.clear()
            history.append({"role": "user", "content": message})
            prompt = tokenizer.apply_chat_template(
                history,
                add_generation_prompt=True,
                date_string="26 Jul 2024",
                return_tensors="pt",
                return_dict=False,
                **arguments,
            )
            answer = "".join(chat.send(message, 8))
            wanted = model.generate(
                prompt, max_new_tokens=8, do_sample=False, eos_token_id=eos, pad_token_id=eos[0]
            )[0].tolist()
            found = wanted[: prompt.shape[1]] + chat.ids
            assert found == wanted[: len(found)]
            assert wanted[len(found) :] == [] or wanted[len(found)] in eos
            assert answer == tokenizer.decode(chat.ids, skip_special_tokens=True)
            history.append({"role": "assistant", "content": answer})
            assert sum(counts[:1]) == prompt.shape[1] - common(cached, prompt[0].tolist())
            assert counts[1:] == [1] * (len(counts) - 1)
            cached = found[: session.position]
    assert chat.messages == history[-2 * len(MESSAGES) :]
    assert counts[0] < prompt.shape[1] / 2


def test_a_conversation_goes_on_from_its_messages(opened):
    session = opened()
    chat = session.chat("Be kind.")
    for message in MESSAGES[:3]:
        "".join(chat.send(message, 6))
    later = session.chat("Be kind.", messages=chat.messages)
    session.reset()
    again = "".join(later.send("Why?", 6))
    assert "".join(chat.send("Why?", 6)) == again
    assert chat.messages == later.messages


def test_after_a_switch_the_conversation_is_computed_anew(opened):
    session = opened()
    chat = session.chat()
    first = "".join(chat.send("Hi", 6))
    session.switch("alpha")
    counts = counted(session)
    assert "".join(chat.retry(6)) != first
    assert counts[0] == len(session.encode("Hi", chat=True))
    session.switch("beta")
    assert "".join(chat.retry(6)) == first
    assert len(chat.messages) == 2


def test_a_retry_computes_one_token_of_the_prompt(opened):
    session = opened()
    chat = session.chat()
    first = "".join(chat.send("Hi", 6))
    counts = counted(session)
    assert "".join(chat.retry(6)) == first
    assert counts == [1] * 6
    warm = ["".join(chat.retry(6, sampling=Sampling(1.5, seed=seed))) for seed in range(4)]
    assert len({*warm}) > 1
    assert [x["content"] for x in chat.messages] == ["Hi", warm[-1]]


def test_generations_beside_a_conversation_do_not_change_it(opened):
    session = opened()
    alone = session.chat()
    wanted = ["".join(alone.send(x, 6)) for x in MESSAGES]
    chat, other = session.chat(), session.chat("Be kind.")
    for message, answer in zip(MESSAGES, wanted, strict=True):
        session.generate("something else", 3)
        assert "".join(chat.send(message, 6)) == answer
        "".join(other.send("Hello?", 3))


def test_an_answer_that_is_not_read_is_kept_as_far_as_it_was(opened):
    session = opened()
    chat = session.chat()
    unread = chat.send("Hi", 40)
    assert chat.messages == []
    part = next(unread)
    unread.close()
    assert chat.end == End.CANCELLED
    assert [x["content"] for x in chat.messages] == ["Hi", part]
    disturbed = chat.send("Why?", 40)
    session.forward = None
    with pytest.raises(TypeError):
        next(disturbed)
    assert len(chat.messages) == 2
    del session.forward
    running = chat.send("Why?", 40)
    next(running)
    session.reset()
    with pytest.raises(TaskError, match="used, switched or reset during this generation"):
        list(running)
    assert len(chat.messages) == 4


def test_an_answer_ends_at_a_stop_string_a_length_or_an_end_token(opened):
    session = opened()
    chat = session.chat()
    whole = "".join(chat.send("Hi", 12))
    assert chat.end == End.MAX_NEW_TOKENS
    assert len(chat.ids) == 12
    stop = whole[3:5]
    cut = "".join(chat.retry(12, stop=stop))
    assert cut == whole[: whole.index(stop)]
    assert chat.end == End.STOP
    assert chat.messages[-1]["content"] == cut
    assert session.generate("Hi", 12, chat=True, stop=stop) == cut
    eos = (chat.ids[1],)
    session.manifest = replace(session.manifest, model=replace(session.manifest.model, eos_ids=eos))
    "".join(chat.retry(12))
    assert chat.end == End.END_TOKEN


def test_a_full_context_is_refused_or_drops_the_oldest_messages(opened):
    session = opened(max_length=160)
    chat = session.chat("Be kind.")
    with pytest.raises(
        ContextFullError, match=r"the conversation has .* expected at most 159; begin"
    ):
        for _ in range(30):
            "".join(chat.send("What is it?", 8))
    before = chat.messages
    assert len(before) >= 4
    dropping = session.chat("Be kind.", messages=before, full="drop")
    for _ in range(8):
        "".join(dropping.send("What is it?", 8))
        assert session.position <= 160
    assert dropping.dropped > 0
    assert len(dropping.messages) == len(before) + 16 - 2 * dropping.dropped
    assert dropping.system == "Be kind."


def test_an_answer_may_fill_the_context(opened):
    session = opened(max_length=64)
    chat = session.chat()
    for seed in range(9):  # an end token is a rare one
        "".join(chat.send("x" * 20, 60, sampling=Sampling(50.0, seed=seed)))
        if chat.end == End.CONTEXT:
            break
        chat = session.chat()
    assert chat.end == End.CONTEXT
    assert session.position == 64


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"system": " "}, "the system prompt is empty, expected a text; leave it out"),
        ({"full": "forget"}, "full is 'forget', expected 'refuse' or 'drop'"),
        (
            {"messages": [{"role": "tool", "content": "x"}]},
            "message 1 has the role 'tool', expected 'user': messages of user and assistant",
        ),
        (
            {"messages": [{"role": "user", "content": "x"}] * 2},
            "message 2 has the role 'user', expected 'assistant'",
        ),
        ({"messages": [{"role": "user", "content": "x"}]}, "end with one of the user"),
        ({"messages": [{"role": "user", "content": ""}]}, "message 1 is empty"),
        ({"messages": ["Hi"]}, "message 1 is 'Hi', expected role and content"),
    ],
)
def test_wrong_conversations_are_one_clear_line(opened, given, message):
    with pytest.raises((TaskError, UsageError), match=message) as error:
        opened().chat(**given)
    assert "\n" not in str(error.value)


def test_wrong_messages_are_one_clear_line(opened):
    session = opened()
    chat = session.chat()
    for wrong, message in (
        ("", "the message is empty, expected a text; write one"),
        (" \n", "the message is empty"),
        ("\ud800", "the prompt is not UTF-8 at character 0"),
        ("x" * CONTEXT, "the message has .* tokens in the chat template, expected at most 511"),
    ):
        with pytest.raises(TaskError, match=message):
            chat.send(wrong)
    with pytest.raises(TaskError, match="there is no message to answer again"):
        chat.retry()
    with pytest.raises(UsageError, match="a stop string is empty"):
        chat.send("Hi", stop="")
    assert chat.messages == []


def test_templates_of_other_conversations_are_refused(opened):
    session = opened("{{ messages | length }}" + CHATML)
    with pytest.raises(TaskError, match="writes conversations of another form than texts around"):
        session.chat()
    assert session.generate("Hi", 3, chat=True)


def test_a_template_without_system_prompts_refuses_one(opened):
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    session = opened(refusing + CHATML)
    with pytest.raises(TaskError, match="takes no system prompt; write it into a message"):
        session.chat("Be kind.")
    assert session.chat().system is None
