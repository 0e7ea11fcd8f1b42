"""Score each task of a bundle through its program, as an app runs it."""

from .bundle import Evaluation, evaluate
from .chart import chart

__all__ = ["Evaluation", "chart", "evaluate"]
