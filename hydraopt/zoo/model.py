"""The zoo's base model before training: a byte-level Llama small enough to train on a laptop."""

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ..private.transformers import byte_symbols

PAD_ID, EOS_ID, VOCAB_SIZE = 256, 257, 258
MAX_LENGTH = 128


def new_tokenizer() -> PreTrainedTokenizerFast:
    """Create a byte-level tokenizer whose ids are the bytes, plus ``<pad>`` and ``<eos>``."""
    vocab = {symbol: byte for byte, symbol in byte_symbols().items()}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken("<pad>", special=True), AddedToken("<eos>", special=True)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def new_model() -> LlamaForCausalLM:
    """Create a randomly initialised Llama of 0.8 M parameters with grouped-query attention."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=MAX_LENGTH,
            tie_word_embeddings=True,
            pad_token_id=PAD_ID,
            eos_token_id=EOS_ID,
            bos_token_id=None,
        )
    )
