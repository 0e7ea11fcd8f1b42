"""Quality of adapters on a base model: exact match on prompt and answer pairs."""

from .evaluator import Evaluator, adapted, exact_match

__all__ = ["Evaluator", "adapted", "exact_match"]
