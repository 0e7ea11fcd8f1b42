"""Evaluate adapters on a base model with prompt and answer pairs."""

from .evaluator import Evaluator, adapted, exact_match

__all__ = ["Evaluator", "adapted", "exact_match"]
