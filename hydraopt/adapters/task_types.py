"""What PEFT calls the kind of base model of an adapter, and which kinds of ours it fits."""

from ..errors import HydraOptError
from ..formats.models import CAUSAL_LM, ENCODER, IMAGE
from ..reading import shortened

PEFT_CAUSAL_LM, SEQ_CLS, TOKEN_CLS = "CAUSAL_LM", "SEQ_CLS", "TOKEN_CLS"
FEATURES = "FEATURE_EXTRACTION"
FITTING = {  # kind of base model -> task types of adapters that its program serves
    CAUSAL_LM: (PEFT_CAUSAL_LM,),
    ENCODER: (SEQ_CLS, TOKEN_CLS, FEATURES),
    IMAGE: (SEQ_CLS, FEATURES),
}
GIVES = {
    PEFT_CAUSAL_LM: "texts that go on",
    SEQ_CLS: "classes of a whole text or image",
    FEATURES: "features of a text or image",
    TOKEN_CLS: "classes of every token",
    "QUESTION_ANS": "the places of an answer in a text",
    "SEQ_2_SEQ_LM": "texts of an encoder-decoder",
}


def check_task_type(task_type: str | None, kind: str, error: type[HydraOptError]) -> None:
    """Refuse adapters for another kind of base model; those that name no task type fit any.

    Args:
        task_type: as in ``adapter_config.json``.
        kind: of the base model, as in the manifest.
        error: to raise.
    """
    fitting = FITTING[kind]
    if task_type is None or task_type in fitting:
        return
    kinds = [other for other, types in FITTING.items() if task_type in types]
    step = (
        f"pass a base model of kind {' or '.join(kinds)}, on which they were trained"
        if kinds
        else "no program gives these: train adapters of another task type"
    )
    gives = f", which gives {GIVES[task_type]}" if task_type in GIVES else ""
    raise error(
        f"the adapters' task_type is {shortened(task_type)}{gives}, but the base model is of kind "
        f"{kind}, expected {' or '.join(fitting)} for it; {step}"
    )
