"""Training: the loop, its data, and the HydraLoRA and sparse kinds of adapters."""

from .batches import Batch, answer_logits, answer_loss, batch, encode, load_model
from .continuations import continuations
from .data import CalibrationData
from .examples import Examples, lines_by_task, read_examples, read_lines, read_unanswered
from .loop import Fitted, Schedule, fit, pick_device
from .precision import use_bfloat16

__all__ = [
    "Batch",
    "CalibrationData",
    "Examples",
    "Fitted",
    "Schedule",
    "answer_logits",
    "answer_loss",
    "batch",
    "continuations",
    "encode",
    "fit",
    "lines_by_task",
    "load_model",
    "pick_device",
    "read_examples",
    "read_lines",
    "read_unanswered",
    "use_bfloat16",
]
