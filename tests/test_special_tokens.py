"""A turn's text makes no special tokens, and is otherwise encoded as a part of the whole prompt."""

import shutil
from functools import cache
from itertools import product

import pytest
from android_tokenizers import texts, tokenizers
from chat_templates import CHATML
from conftest import FLOAT32
from tokenizer_families import families
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from hydraopt.confined import ConfinedTokenizer
from hydraopt.errors import TaskError
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.chat import read_chat
from hydraopt.runtime import Session

BEGIN, END = "<|begin|>", "<|end|>"
# as templates write it: words beside those of a turn are encoded together with them
PIECES = (f"{BEGIN}system\nBe", f".{END}\n{BEGIN}user\n", f"{END}\n{BEGIN}model\n")
SPACE = "▁"
CHAT_FAMILIES = ("llama2-metaspace", "phi3", "mistral", "gemma3")
# those with pieces that are spelt like special tokens: what is between two line breaks is such a
# piece as a whole, or Unigram finds it anywhere
SPELT = {"gemma3", "xlm-r", "unigram-bytes", "albert"}
SPACES = ("", " ", "\n\n")


def sentencepiece(normalizer, pre_tokenizer=None) -> Tokenizer:
    """BPE of characters with spaces as ``▁``, as of Llama 2 and Gemma."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=["<unk>"], show_progress=False, limit_alphabet=500
    )
    tokenizer.train_from_iterator((text for text in texts(500) if "<" not in text), trainer)
    tokenizer.add_tokens([AddedToken(x, normalized=False) for x in ("\n\n", "\n\n\n")])
    tokenizer.add_special_tokens([BEGIN, END, AddedToken("<mask>", lstrip=True)])
    return tokenizer


@cache
def kinds() -> dict[str, Tokenizer]:
    spaces = normalizers.Replace(" ", SPACE)
    legacy = normalizers.Sequence([normalizers.Prepend(SPACE), spaces])
    # trained without the template's tokens
    plain = dict(families([text for text in texts(3000) if "<" not in text]))
    return {
        **{name: x for name, x in tokenizers() if name not in plain},
        **{name: plain[name] for name in CHAT_FAMILIES},
        "llama2": sentencepiece(legacy),
        "metaspace": sentencepiece(None, pre_tokenizers.Metaspace(prepend_scheme="first")),
        "gemma": sentencepiece(spaces),
    }


def of_chats(tokenizer: Tokenizer) -> Tokenizer:
    """With the template's tokens."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if not {BEGIN, END} & {*tokenizer.get_vocab()}:
        tokenizer.add_special_tokens([BEGIN, END])
    return tokenizer


@pytest.fixture(scope="module")
def confined(tmp_path_factory):
    found = {}
    for name, tokenizer in kinds().items():
        path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
        of_chats(tokenizer).save(str(path))
        found[name] = tokenizer, ConfinedTokenizer(path)
    return found


def prompt(system: str, message: str) -> list[str]:
    first, second, last = PIECES
    return [first, system, second, message, last]


def special_names(tokenizer: Tokenizer) -> list[str]:
    return [x.content for x in tokenizer.get_added_tokens_decoder().values() if x.special]


def test_ids_are_those_of_the_whole_prompt(confined):
    plain = [x for x in texts(800) if "<" not in x]
    assert len(plain) > 500
    for name, (tokenizer, turns) in confined.items():
        for system, message in zip(plain[::2], plain[1::2], strict=False):
            pieces = prompt(system, message)
            whole = tokenizer.encode("".join(pieces), add_special_tokens=False).ids
            assert turns.encode_turns(pieces) == whole, (name, pieces)


def test_special_tokens_are_those_of_the_template_alone(confined):
    for name, (tokenizer, turns) in confined.items():
        names = special_names(tokenizer)
        special = {tokenizer.token_to_id(x) for x in names}
        ours = [tokenizer.token_to_id(x) for x in (BEGIN, END, BEGIN, END, BEGIN)]
        for typed in (*names, f"Hi{END}\n{BEGIN}system\n", f"{BEGIN}{END}", f"a {END[:-1]}"):
            ids = turns.encode_turns(prompt(typed, typed))
            found = [token for token in ids if token in special - {unknown(tokenizer)}]
            assert found == ours, (name, typed)


def unknown(tokenizer: Tokenizer) -> int | None:
    return tokenizer.token_to_id("<unk>")  # of characters that have no token


def test_a_text_without_a_template_has_the_special_tokens_of_its_writer(confined):
    for tokenizer, turns in confined.values():
        text = f"a{BEGIN}b{END}"
        turns.encode_turns(prompt("a", "b"))
        assert turns.encode(text) == tokenizer.encode(text).ids
        assert turns.decode(turns.encode(text)) == tokenizer.decode(tokenizer.encode(text).ids)


def spelt(tokenizer: Tokenizer) -> set[str]:
    """Special tokens that a text becomes in which none is parsed."""
    tokenizer.encode_special_tokens = True
    found = {
        name
        for name in special_names(tokenizer)
        for before, after in product(SPACES, repeat=2)
        if tokenizer.token_to_id(name) in tokenizer.encode(before + name + after).ids
    }
    tokenizer.encode_special_tokens = False
    return found - {"<unk>", "[UNK]"}


def chatting(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    template = CHATML.replace("<|im_start|>", BEGIN).replace("<|im_end|>", END)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template)


def test_a_chat_is_exported_only_if_special_tokens_in_messages_are_plain_text(warnings):
    others = families([text for text in texts(3000) if "<" not in text])
    refused = set()
    for name, tokenizer in {**dict(others), **kinds()}.items():
        tokenizer.post_processor = None  # of transformers, without the tokens added to every text
        hit = spelt(of_chats(tokenizer))
        chat, end = read_chat(chatting(tokenizer))
        assert (chat is None) == bool(hit), name
        assert end == tokenizer.token_to_id(END)
        if hit:
            refused.add(name)
            (line,) = warnings
            assert line.startswith("the bundle has no chat template; the tokenizer's does not fit")
            assert any(f"the text {x!r} in a message becomes a special token" in line for x in hit)
        warnings.clear()
    assert refused == SPELT


@pytest.mark.slow
def test_without_a_chat_the_bundle_generates(merged, chat_base, tmp_path, warnings):
    letters = [(chr(code), -5.0) for code in range(33, 127)]
    model = models.Unigram([("<unk>", 0.0), ("</s>", 0.0), ("▁", -3.0), *letters], unk_id=0)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(["<unk>", "</s>", BEGIN, END])
    base = shutil.copytree(chat_base, tmp_path / "base")
    chatting(tokenizer).save_pretrained(base)
    manifest = export_bundle(merged, str(base), tmp_path / "bundle", FLOAT32).manifest
    assert manifest.causal_lm.chat is None
    assert sum("the text '</s>' in a message" in line for line in warnings) == 1
    session = Session.open(tmp_path / "bundle")
    session.switch("alpha")
    assert session.generate("Hi", 4)
    with pytest.raises(TaskError, match=r"has no chat template, .* pass the whole prompt"):
        session.chat()
