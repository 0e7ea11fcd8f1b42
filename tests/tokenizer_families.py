"""Small tokenizers of the kinds that SentencePiece and BERT brought, learnt from texts."""

import json
from collections.abc import Iterable, Iterator

from sentencepiece import SentencePieceNormalizer
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from tokenizers.pre_tokenizers import Metaspace

SPECIAL = ("<unk>", "<s>", "</s>", "<mask>")
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LLAMA_DECODER = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]


def families(texts: Iterable[str]) -> Iterator[tuple[str, Tokenizer]]:
    """A tokenizer of every family that is neither byte-level nor another's variant."""
    texts = list(texts)
    yield from _llamas(_merged(texts))
    yield from _berts(texts)
    yield from _unigrams(texts)


def _merged(texts: list[str]) -> dict:
    """Vocabulary and merges of BPE on characters, with tokens for bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=1500, limit_alphabet=600, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    learnt = sorted(model["vocab"], key=model["vocab"].get)
    tokens = [*SPECIAL, *BYTES, *(token for token in learnt if token not in SPECIAL)]
    merges = [tuple(merge) for merge in model["merges"]]
    return {"vocab": {token: i for i, token in enumerate(tokens)}, "merges": merges}


def _llamas(merged: dict) -> Iterator[tuple[str, Tokenizer]]:
    """BPE with byte fallback, in the forms of ``tokenizer.json`` that are about."""

    def llama(*normal, pre_tokenizer=None, strip: int = 1, **options) -> Tokenizer:
        model = models.BPE(**merged, unk_token="<unk>", fuse_unk=True, **options)
        tokenizer = Tokenizer(model)
        if normal:
            tokenizer.normalizer = normalizers.Sequence(list(normal))
        if pre_tokenizer:
            tokenizer.pre_tokenizer = pre_tokenizer
        strips = [decoders.Strip(" ", strip, 0)] if strip else []
        tokenizer.decoder = decoders.Sequence([*LLAMA_DECODER, *strips])
        tokenizer.add_special_tokens([AddedToken(x, normalized=False) for x in SPECIAL[:3]])
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 1)]
        )
        return tokenizer

    prepend, replace = normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")
    yield "llama2", llama(prepend, replace, byte_fallback=True)
    first = Metaspace("▁", prepend_scheme="first", split=False)
    yield "llama2-metaspace", llama(pre_tokenizer=first, byte_fallback=True)
    phi3 = llama(prepend, replace, byte_fallback=True)
    phi3.add_special_tokens(
        [
            AddedToken("<|begin|>", rstrip=True, normalized=False),
            AddedToken("<|end|>", lstrip=True, rstrip=True, normalized=False),
        ]
    )
    phi3.add_tokens([AddedToken("hello", single_word=True, normalized=False)])
    yield "phi3", phi3
    mistral = llama(prepend, replace, byte_fallback=True, ignore_merges=True)
    mistral.add_special_tokens([AddedToken("<pad>", normalized=False)])
    yield "mistral", mistral
    split = pre_tokenizers.Split(" ", "merged_with_previous")
    gemma = llama(replace, pre_tokenizer=split, strip=0, byte_fallback=True, ignore_merges=True)
    gemma.add_tokens([AddedToken(x, normalized=False) for x in ("\n\n", "\n\n\n", "  ", "<eos>")])
    gemma.add_special_tokens([AddedToken("<|im_start|>", normalized=False)])
    yield "gemma3", gemma
    yield "without-bytes", llama(pre_tokenizer=Metaspace("▁", prepend_scheme="never"))


def _berts(texts: list[str]) -> Iterator[tuple[str, Tokenizer]]:
    """WordPiece, cased and uncased."""

    def bert(**options) -> Tokenizer:
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(**options)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece("##", cleanup=options["lowercase"])
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        trainer = trainers.WordPieceTrainer(
            vocab_size=2500, limit_alphabet=1000, special_tokens=special, show_progress=False
        )
        tokenizer.train_from_iterator(texts, trainer)
        tokenizer.add_special_tokens([AddedToken("<think>", lstrip=True)])
        return tokenizer

    uncased = bert(lowercase=True)
    uncased.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    yield "bert", uncased
    cased = bert(lowercase=False, strip_accents=None)
    cased.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    yield "bert-cased", cased


def _unigrams(texts: list[str]) -> Iterator[tuple[str, Tokenizer]]:
    """Unigram models, as of XLM-R, and as they are converted from SentencePiece's files."""

    def unigram(model, normalizer, pre_tokenizer, scheme: str = "always") -> Tokenizer:
        tokenizer = Tokenizer(model)
        tokenizer.normalizer = normalizer
        tokenizer.pre_tokenizer = pre_tokenizer
        tokenizer.decoder = decoders.Metaspace("▁", prepend_scheme=scheme)
        tokenizer.add_special_tokens([*SPECIAL[:3], AddedToken("<mask>", lstrip=True)])
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
        return tokenizer

    table = normalizers.Precompiled(charsmap("nmt_nfkc"))
    words = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), Metaspace()])
    learning = unigram(models.Unigram(), table, words)
    trainer = trainers.UnigramTrainer(
        vocab_size=4000, special_tokens=list(SPECIAL), unk_token="<unk>", show_progress=False
    )
    learning.train_from_iterator([x for x in texts if x and max(x) < "\u3100"], trainer)
    scores = [tuple(x) for x in json.loads(learning.to_str())["model"]["vocab"]]

    yield "xlm-r", unigram(models.Unigram(scores, unk_id=0), table, words)
    stripped = [normalizers.Strip(left=False), normalizers.Replace(Regex(" {2,}"), "▁")]
    in_bytes = models.Unigram([*scores, *((x, -20.0) for x in BYTES)], unk_id=0, byte_fallback=True)
    converted = normalizers.Sequence([normalizers.Precompiled(charsmap("nmt_nfkc_cf")), *stripped])
    first = Metaspace(prepend_scheme="first")
    yield "unigram-bytes", unigram(in_bytes, converted, first, "first")
    lowered = [normalizers.Replace("``", '"'), normalizers.NFKD(), normalizers.StripAccents()]
    albert = normalizers.Sequence([*lowered, normalizers.Lowercase(), table])
    yield "albert", unigram(models.Unigram(scores, unk_id=0), albert, Metaspace())


def charsmap(rule: str) -> bytes:
    """SentencePiece's table of a normalization rule."""
    return _field(_field(SentencePieceNormalizer(rule_name=rule).serialized_model_proto(), 3), 2)


def _field(message: bytes, number: int) -> bytes:
    """The content of a field of a protobuf message; it and those before it have a length."""
    at = 0
    while True:
        tag, at = _varint(message, at)
        length, at = _varint(message, at)
        if tag >> 3 == number:
            return message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
