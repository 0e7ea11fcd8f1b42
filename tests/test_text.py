"""Streamed pieces of any tokens make the text of all of them, whatever decoder they have."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models
from tokenizers.pre_tokenizers import ByteLevel

from hydraopt.errors import TaskError
from hydraopt.runtime.text import BundleTokenizer

SPACE = "▁"
WORDS = ["a", "b", SPACE, f"{SPACE}a", "中", ".", "\ufffd", "ab", "é"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def bpe(words, decoder, **settings):
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], **settings))
    tokenizer.decoder = decoder
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.add_tokens([AddedToken("世界", normalized=False)])
    return tokenizer


def sentencepiece():
    """As Llama 2's and Mistral's."""
    parts = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    decoder = decoders.Sequence([*parts, decoders.Strip(" ", 1, 0)])
    return bpe([*WORDS, *BYTES], decoder, byte_fallback=True)


def wordpiece():
    vocabulary = {
        word: number for number, word in enumerate(["a", "##b", ".", "c", "'", "s", "n't"])
    }
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="a"))
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[SEP]"])
    return tokenizer


TOKENIZERS = {
    "byte level": bpe(ByteLevel.alphabet(), decoders.ByteLevel()),
    "byte fallback": sentencepiece(),
    "metaspace": bpe(WORDS, decoders.Metaspace()),
    "suffix": bpe(["a", "b</w>", "c</w>", "d"], decoders.BPEDecoder()),
    "wordpiece": wordpiece(),
    "none": bpe(WORDS, decoders.Fuse()),
}


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    found = {}
    for name, tokenizer in TOKENIZERS.items():
        directory = tmp_path_factory.mktemp("tokenizer")
        tokenizer.save(str(directory / "tokenizer.json"))
        found[name] = BundleTokenizer(directory, SimpleNamespace(model=None))
    return found


@pytest.mark.parametrize("name", TOKENIZERS)
@given(drawn=st.lists(st.integers(0, 299), max_size=24))
def test_pieces_of_any_tokens_are_the_whole_text(texts, name, drawn):
    tokenizer = TOKENIZERS[name]
    size = tokenizer.get_vocab_size() + 2  # a few that are none
    ids = [number % size for number in drawn]
    assert "".join(texts[name].decode_stream(ids)) == tokenizer.decode(ids)


def bytes_of(text):
    """Token ids of a text's bytes."""
    ((names, _),) = ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)
    return [TOKENIZERS["byte level"].token_to_id(name) for name in names]


def test_a_piece_comes_as_soon_as_nothing_can_change_it(texts):
    came = []
    pieces = texts["byte level"].decode_stream(came.append(i) or i for i in bytes_of("né 中"))
    assert [(piece, len(came)) for piece in pieces] == [("n", 1), ("é", 3), (" ", 4), ("中", 7)]


def test_what_is_no_whole_character_at_the_end_is_there_too(texts):
    assert list(texts["byte level"].decode_stream(bytes_of("a中")[:-1])) == ["a", "\ufffd"]
    ids = map(TOKENIZERS["byte fallback"].token_to_id, ("a", "<0xE4>", "<0xB8>"))
    assert list(texts["byte fallback"].decode_stream(ids)) == ["a", "\ufffd\ufffd"]


@pytest.mark.parametrize(("text", "place"), [("😀b\ud83d!", 2), ("a\ude00\ud83d", 1)])
def test_half_a_surrogate_pair_is_refused_as_in_kotlin(texts, text, place):
    with pytest.raises(TaskError, match=f"not UTF-8 at character {place}; correct it"):
        texts["byte level"].encode(text)
