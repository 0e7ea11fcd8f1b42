"""PEFT's task types, and the kinds of base models that they fit."""

from ..errors import HydraOptError
from ..formats.models import CAUSAL_LM, ENCODER, IMAGE
from ..reading import shortened

PEFT_CAUSAL_LM, SEQ_CLS, TOKEN_CLS = "CAUSAL_LM", "SEQ_CLS", "TOKEN_CLS"
FEATURES = "FEATURE_EXTRACTION"
FITTING = {  # kind of base model -> task types that its program supports
    CAUSAL_LM: (PEFT_CAUSAL_LM,),
    ENCODER: (SEQ_CLS, TOKEN_CLS, FEATURES),
    IMAGE: (SEQ_CLS, FEATURES),
}
OUTPUTS = {
    PEFT_CAUSAL_LM: "continuations of texts",
    SEQ_CLS: "classes of a whole text or image",
    FEATURES: "features of a text or image",
    TOKEN_CLS: "classes of every token",
    "QUESTION_ANS": "the span of an answer in a text",
    "SEQ_2_SEQ_LM": "texts of an encoder-decoder",
}


def check_task_type(task_type: str | None, kind: str, error: type[HydraOptError]) -> None:
    """Check that adapters fit a kind of base model; adapters without a task type fit any.

    Args:
        task_type: PEFT's task type, as in ``adapter_config.json``.
        kind: kind of the base model, as in the manifest.
        error: class to raise.
    """
    fitting = FITTING[kind]
    if task_type is None or task_type in fitting:
        return
    kinds = [other for other, types in FITTING.items() if task_type in types]
    step = (
        f"pass a base model of kind {' or '.join(kinds)}, on which they were trained"
        if kinds
        else "no kind of base model fits: train adapters of another task type"
    )
    output = f" (for {OUTPUTS[task_type]})" if task_type in OUTPUTS else ""
    raise error(
        f"the adapters' task_type is {shortened(task_type)}{output}, but the base model is of kind "
        f"{kind}, expected {' or '.join(fitting)} for it; {step}"
    )
