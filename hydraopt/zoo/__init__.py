"""The bundled zoo: one small base model and 40 LoRA adapters, 5 applications x 8 languages."""

from pathlib import Path

from ..adapters import AdapterSet, read_adapters
from .tasks import TASKS

DATA = Path(__file__).parent / "data"
BASE = DATA / "base"
ADAPTERS = DATA / "adapters"


def load_adapters() -> AdapterSet:
    """Read all 40 adapters, in the order of ``TASKS``."""
    return read_adapters(ADAPTERS / task for task in TASKS)
