"""Quality of adapters on a base model: exact match on prompt and answer pairs."""

from .evaluator import Evaluator, adapted, exact_match, load_model
from .examples import Examples, read_examples

__all__ = ["Evaluator", "Examples", "adapted", "exact_match", "load_model", "read_examples"]
