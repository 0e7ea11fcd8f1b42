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
# as Llama 3's: begins the text, tells a date before a system prompt, takes white space off turns
DATED = (
    "{{ bos_token }}"
    "{% if date_string is not defined %}"
    "{% if strftime_now is defined %}{% set date_string = strftime_now('%d %b %Y') %}"
    "{% else %}{% set date_string = '26 Jul 2024' %}{% endif %}"
    "{% endif %}"
    "{% if messages[0].role == 'system' %}"
    "{% set system = messages[0].content | trim %}{% set turns = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}"
    "{{ '<|im_start|>system\nToday is ' + date_string + '\n\n' + system + '<|im_end|>' }}"
    "{% for message in turns %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content | trim + '<|im_end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# as Qwen 2.5's: a system prompt of its own, and roles written out
QWEN25 = (
    "{% if messages[0].role == 'system' %}"
    "{{ '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>system\nYou are a model.<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{% if m.role != 'system' or not loop.first %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# as Qwen 3's: an answer before the last message is without its thoughts; empty ones prompt a model
# that is not to think
QWEN3 = (
    "{% set last = namespace(at=0) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set last.at = loop.index0 %}{% endif %}"
    "{% endfor %}"
    "{% for m in messages %}{% set content = m.content %}{% set thoughts = '' %}"
    "{% if m.role == 'assistant' and '</think>' in content %}"
    "{% set thoughts = content.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.index0 > last.at %}"
    "{{ '<think>\n' + thoughts + '\n</think>\n\n' }}{% endif %}"
    "{{ content + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
# as Gemma 3's: the system prompt is a part of the first message, and an answer is of the role model
GEMMA3 = (
    "{{ bos_token }}"
    "{% if messages[0].role == 'system' %}"
    "{% set first = messages[0].content + '\n\n' %}{% set turns = messages[1:] %}"
    "{% else %}{% set first = '' %}{% set turns = messages %}{% endif %}"
    "{% for m in turns %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ '<|im_start|>' + ('model' if m.role == 'assistant' else m.role) + '\n' }}"
    "{{ (first if loop.first else '') + m.content | trim + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>model\n' }}{% endif %}"
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
