"""Kinds of base models, one module each: loading, restructuring, export, description."""

from collections.abc import Sequence

from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    PretrainedConfig,
)

from ...adapters import FEATURES, TOKEN_CLS
from ...bases.files import UnfitError
from ...reading import shortened
from .causal_lm import CausalLM
from .encoder import Encoder
from .image import ImageModel
from .kind import Kind, Probe

DECODERS = ("ForCausalLM", "LMHeadModel")


def kind_of(config: PretrainedConfig, task_type: str | None = None) -> Kind:
    """Return the kind of a base model by its architectures or, without them, its model type.

    For adapters of feature extraction or token classification, a language model is an encoder.

    Args:
        config: configuration of the base model.
        task_type: PEFT task type of the adapters; None if unknown.

    Raises:
        UnfitError: the model is of no supported kind.
    """
    architectures: Sequence[str] = getattr(config, "architectures", None) or ()
    causal = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
    decodes = causal and not config.is_encoder_decoder
    if decodes and task_type in (FEATURES, TOKEN_CLS):
        return Encoder()
    if any(name.endswith(DECODERS) for name in architectures):
        return CausalLM()
    if type(config) in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        return ImageModel()
    if type(config) in MODEL_FOR_MASKED_LM_MAPPING and not config.is_encoder_decoder:
        return Encoder()
    if causal:
        return CausalLM()
    raise UnfitError(
        f"is of type {shortened(config.model_type)}, expected a causal language model, a text "
        "encoder or an image model; pass one of these"
    )


__all__ = ["CausalLM", "Encoder", "ImageModel", "Kind", "Probe", "kind_of"]
