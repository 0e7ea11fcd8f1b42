"""Tokenizers of published models' kinds, and what PyPI's ``tokenizers`` makes of many texts."""

import json
import random
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from tokenizer_families import families
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
from tokenizers.pre_tokenizers import ByteLevel, Digits, Split
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX as QWEN2
from transformers.models.qwen3_5.tokenization_qwen3_5 import PRETOKENIZE_REGEX as QWEN3_5

from hydraopt.confined.worker import Tokenizing
from hydraopt.profiling.cache import cache_directory
from hydraopt.zoo import BASE

LLAMA3 = QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|")
SCRIPTS = {  # ranges of code points
    "ascii": (0x20, 0x7E),
    "latin": (0xA1, 0x24F),
    "greek": (0x370, 0x3FF),
    "cyrillic": (0x400, 0x4FF),
    "hebrew": (0x5B0, 0x5F4),
    "arabic": (0x600, 0x6FF),
    "devanagari": (0x900, 0x97F),
    "bengali": (0x980, 0x9FB),
    "tamil": (0xB82, 0xBFA),
    "thai": (0xE01, 0xE5B),
    "tibetan": (0xF00, 0xFDA),
    "georgian": (0x10A0, 0x10FF),
    "jamo": (0x1100, 0x11FF),
    "ethiopic": (0x1200, 0x137C),
    "khmer": (0x1780, 0x17F9),
    "vietnamese": (0x1EA0, 0x1EFF),
    "marks": (0x300, 0x36F),
    "punctuation": (0x2010, 0x2070),
    "numbers": (0x2150, 0x218B),
    "arrows": (0x2190, 0x2300),
    "kana": (0x3041, 0x30FF),
    "han": (0x4E00, 0x9FFF),
    "hangul": (0xAC00, 0xD7A3),
    "fullwidth": (0xFF01, 0xFFEE),
    "gothic": (0x10330, 0x1034A),
    "math": (0x1D400, 0x1D7FF),
    "emoji": (0x1F300, 0x1F64F),
    "skin": (0x1F3FB, 0x1F3FF),
    "han-b": (0x20000, 0x2A6D6),
}
SPACES = [
    *"\t\n\v\f\r \x1c\x1d\x85\xa0\u1680\u2003\u2009\u200b\u2028\u2029\u202f\u205f\u3000\ufeff"
]
WORDS = [
    *("don't", "I'LL", "we'Ve", "it'\u017f", "'re", "x'D", "O'Neil", "''s", "l'été", "'", "'l"),
    *(
        "123",
        "1234567",
        "3.14",
        "٣٤٥",
        "१२३४",
        "Ⅷ",
        "½",
        "x²",
        "\r\n",
        "\n\n\n",
        " \n ",
        "  ",
        "   ",
    ),
    *(
        "hello",
        " world",
        "Straße",
        "naïve",
        "e\u0301",
        "한국어",
        "日本語",
        "العربية",
        "हिन्दी",
        "தமிழ்",
    ),
    *("👩‍👩‍👧", "🇩🇪", "🏽", "fn(x) {", "// a", "<tag>", "a_b-c", "http://x.y/z?q=1", "\0", "\x7f"),
    *("<|begin|>", "<|end|>", "<think>", "<|beg", "<pad>", "<eos>", "<|im_start|>", "\ufffd"),
]


def texts(count: int) -> Iterator[str]:
    """Texts of one to thirty words, spaces and runs of one script's characters."""
    draw = random.Random(0)
    yield from ("", " ", "\n", *WORDS, *SPACES)
    for _ in range(count):
        parts = []
        for _ in range(draw.randrange(1, 16)):
            kind = draw.random()
            if kind < 0.35:
                parts.append(draw.choice(WORDS))
            elif kind < 0.6:
                parts.append(draw.choice(SPACES + [" "] * 20) * draw.choice((1, 1, 1, 2, 3)))
            else:
                first, last = SCRIPTS[draw.choice(list(SCRIPTS))]
                codes = [draw.randint(first, last) for _ in range(draw.randrange(1, 12))]
                parts.append("".join(map(chr, codes)))
        yield "".join(parts)


def _trained(pre_tokenizer, *, ignore_merges: bool = False, added=(), **parts) -> Tokenizer:
    """A byte-level BPE of 1200 tokens, learnt from the texts themselves."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1200, initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts(3000), trainer)
    tokenizer.add_tokens([AddedToken(x, normalized=False) for x in added])
    tokenizer.add_special_tokens(["<|begin|>", "<|end|>"])
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    return tokenizer


def _split(pattern: str) -> pre_tokenizers.PreTokenizer:
    split = Split(Regex(pattern), behavior="isolated")
    return pre_tokenizers.Sequence([split, ByteLevel(add_prefix_space=False, use_regex=False)])


def _begin(tokenizer_id: int) -> processors.PostProcessor:
    template = processors.TemplateProcessing(
        single="<|begin|> $A <|end|>",
        special_tokens=[("<|begin|>", tokenizer_id), ("<|end|>", tokenizer_id + 1)],
    )
    return processors.Sequence([processors.ByteLevel(trim_offsets=False), template])


def tokenizers() -> Iterator[tuple[str, Tokenizer]]:
    """The zoo's, real ones that were fetched, and small ones of other models' kinds."""
    yield "zoo", Tokenizer.from_file(str(BASE / "tokenizer.json"))
    for name in ("smollm2", "minilm"):
        for file in sorted(cache_directory().glob(f"{name}/*/base/tokenizer.json")):
            yield name, Tokenizer.from_file(str(file))
    yield "gpt2", _trained(ByteLevel(add_prefix_space=True))
    digits = pre_tokenizers.Sequence([Digits(individual_digits=True), ByteLevel(False)])
    yield "digits", _trained(digits, added=["hello", "hell"])
    runs = pre_tokenizers.Sequence([Digits(individual_digits=False), ByteLevel(False)])
    yield "numbers", _trained(runs)
    llama = _trained(_split(LLAMA3), ignore_merges=True)
    llama.post_processor = _begin(llama.token_to_id("<|begin|>"))
    yield "llama3", llama
    yield "qwen2", _trained(_split(QWEN2), normalizer=normalizers.NFC(), added=["<think>"])
    nfc = normalizers.Sequence([normalizers.NFC()])
    yield "qwen3.5", _trained(_split(QWEN3_5), normalizer=nfc, added=["<think>"])
    roberta = _trained(ByteLevel(add_prefix_space=False))
    roberta.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1))
    roberta.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    yield "roberta", roberta
    yield from families(texts(3000))


def write_characters(path: Path) -> None:
    """Write ranges of characters that Unicode has had since 3.2, in one class."""
    old, runs = unicodedata.ucd_3_2_0, []
    for code in range(sys.maxunicode + 1):
        kind = unicodedata.category(chr(code))
        if kind in ("Cn", "Co", "Cs") or kind != old.category(chr(code)):
            continue
        if not runs or runs[-1]["last"] != code - 1:
            runs.append({"first": code})
        runs[-1]["last"] = code
    path.write_text(json.dumps(runs))


def write_golden(directory: Path, count: int) -> None:
    """Write every tokenizer and what it makes of ``count`` texts and of random ids."""
    draw = random.Random(1)
    for name, made in tokenizers():
        (directory / name).mkdir(parents=True)
        made.no_truncation()
        made.no_padding()
        file = str(directory / name / "tokenizer.json")
        made.save(file)
        tokenizer = Tokenizer.from_file(file)
        encoded = [_encoded(tokenizer, text) for text in texts(count)]
        size = tokenizer.get_vocab_size() + 3  # a few that are none
        drawn = [[draw.randrange(size) for _ in range(draw.randrange(1, 20))] for _ in range(500)]
        decoded = [{"ids": ids, "text": tokenizer.decode(ids)} for ids in drawn]
        turns = _turns(directory / name / "tokenizer.json", list(texts(count // 4)))
        golden = {"encoded": encoded, "decoded": decoded, "turns": turns}
        (directory / name / "golden.json").write_text(json.dumps(golden))


def _turns(path: Path, typed: list[str]) -> list[dict]:
    """Prompts of two turns in the tokenizer's own special tokens, and their ids."""
    tokenizing = Tokenizing()
    tokenizing.load(str(path))
    names = [token.content for token in tokenizing._special.values()] or ["<none>"]
    first, last = names[0], names[-1]
    typed = [*typed, *names, f"a{last}\n{first}system\n", f" {first}{last} "]
    template = (f"{first}system\nBe", f".{last}\n{first}user\n", f"{last}\n{first}model\n")
    asked = [
        [template[0], typed[0], template[1], typed[1], template[2]]
        for typed in zip(typed, typed[::-1], strict=True)
    ]
    return [{"pieces": pieces, "ids": tokenizing.encode_turns(pieces)} for pieces in asked]


def _encoded(tokenizer: Tokenizer, text: str) -> dict:
    ids = tokenizer.encode(text).ids
    plain = tokenizer.encode(text, add_special_tokens=False).ids
    tokenizer.encode_special_tokens = True
    typed = tokenizer.encode(text, add_special_tokens=False).ids
    tokenizer.encode_special_tokens = False
    return {
        "text": text,
        "ids": ids,
        "plain": plain,
        "typed": typed,
        "decoded": tokenizer.decode(ids),
        "special": tokenizer.decode(ids, skip_special_tokens=False),
    }


def refused() -> Iterator[tuple[str, dict, str]]:
    """``(name, tokenizer.json, what the refusal says)`` of kinds that the library does not read."""
    good = json.loads(_trained(ByteLevel(False)).to_str())

    def changed(part: str, **fields) -> dict:
        return {**good, part: {**(good[part] or {}), **fields}}

    def replaced(part: str, content) -> dict:
        return {**good, part: content}

    def step(part: str, made, **fields) -> dict:
        return replaced(part, {**json.loads(made.__getstate__()), **fields})

    yield "wordlevel", changed("model", type="WordLevel"), "the model of ByteLevel is WordLevel"
    yield "characters", changed("model", byte_fallback=True), "is BPE of characters, expected BPE"
    yield "unknown", changed("model", unk_token="<unk>"), "unk_token is <unk>, expected none"
    yield "suffix", changed("model", end_of_word_suffix="</w>"), "end_of_word_suffix is </w>"
    yield "merges", changed("model", merges=[["\u0120", "nothing"]]), "merge 0 makes no token"
    yield "pair", changed("model", merges=[["a", "b", "c"]]), "a pair is not two tokens"
    yield "far", changed("model", vocab={"a": 2**31 - 1}), "token id 2147483647 is above"
    whitespace = step("pre_tokenizer", pre_tokenizers.Whitespace())
    yield "whitespace", whitespace, "a pre-tokenizer is Whitespace, expected ByteLevel, Digits"
    pattern = json.loads(_split(r"\w+").__getstate__())
    yield "pattern", replaced("pre_tokenizer", pattern), r"the pattern \w+, expected that of GPT-2"
    metaspace = pre_tokenizers.Metaspace()
    yield "mark", step("pre_tokenizer", metaspace, replacement="ab"), "'ab', expected one character"
    yield "nmt", step("normalizer", normalizers.Nmt()), "the normalizer is Nmt, expected NFC, NFD"
    spaces = normalizers.Replace(Regex(r"\s+"), " ")
    yield "spaces", step("normalizer", spaces), r"Replace is the pattern \s+, expected ' {2,}'"
    table = {"type": "Precompiled", "precompiled_charsmap": "AAAAAAAA"}
    yield "table", replaced("normalizer", table), "precompiled_charsmap is cut off"
    yield "no-decoder", replaced("decoder", None), "the decoder is null, expected ByteLevel"
    yield "ctc", step("decoder", decoders.CTC()), "the decoder is CTC, expected ByteLevel"
    truncation = {"max_length": 8, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    yield "truncation", replaced("truncation", truncation), "truncation is its own rule"
    yield "no-model", {k: v for k, v in good.items() if k != "model"}, "it has no model"


def write_refused(directory: Path) -> None:
    """Write tokenizers that are refused, and what is said of each."""
    records = []
    for name, content, message in refused():
        (directory / f"{name}.json").write_text(json.dumps(content))
        records.append({"file": f"{name}.json", "message": message})
    (directory / "cut.json").write_text('{"model": {')
    records.append({"file": "cut.json", "message": "no JSON: it ends too early"})
    (directory / "refused.json").write_text(json.dumps(records))
