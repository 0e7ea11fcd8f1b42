"""Chat templates as data, in the forms that published models have, and a tokenizer with them."""

from tokenizers import AddedToken, processors
from transformers import PreTrainedTokenizerFast

from hydraopt.recipes.templates import CHATML
from hydraopt.zoo.model import new_tokenizer

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
# SmolLM2's: ChatML with a system prompt of its own
SMOLLM = (
    "{% if messages[0].role != 'system' %}"
    f"{{{{ '<|im_start|>system\n{SYSTEM}<|im_end|>\n' }}}}"
    "{% endif %}" + CHATML
)
# as Llama 3's: begins the text, tells a date, takes white space off the message
DATED = (
    "{{ bos_token }}"
    "{% if date_string is not defined %}"
    "{% if strftime_now is defined %}{% set date_string = strftime_now('%d %b %Y') %}"
    "{% else %}{% set date_string = '26 Jul 2024' %}{% endif %}"
    "{% endif %}"
    "{{ '<|im_start|>system\nToday is ' + date_string + '<|im_end|>' }}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content | trim + '<|im_end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
BOS, START, END = 258, 259, 260
SIZE = 261


def chat_tokenizer(template: str | None = CHATML) -> PreTrainedTokenizerFast:
    """The zoo's, with tokens of a chat; it puts ``<bos>`` before a text, as Llama's does."""
    backend = new_tokenizer().backend_tokenizer
    names = ("<bos>", "<|im_start|>", "<|im_end|>")
    backend.add_special_tokens([AddedToken(name, special=True) for name in names])
    backend.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", BOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        chat_template=template,
    )
