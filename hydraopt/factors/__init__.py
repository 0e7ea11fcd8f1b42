"""Low-rank updates of a base model's layers: types and linear algebra."""

from .coordinates import Coordinates, Stack
from .factors import Factors, Size, add_delta, relative_error
from .heads import classes_of, head_factors, head_tensors
from .lowrank import Cut, Delta, Svd, balanced, cut, inner, padded, svd
from .surgery import apply_surgery
from .targets import Places, Role, Target, is_head, placed

__all__ = [
    "Coordinates",
    "Cut",
    "Delta",
    "Factors",
    "Places",
    "Role",
    "Size",
    "Stack",
    "Svd",
    "Target",
    "add_delta",
    "apply_surgery",
    "balanced",
    "classes_of",
    "cut",
    "head_factors",
    "head_tensors",
    "inner",
    "is_head",
    "padded",
    "placed",
    "relative_error",
    "svd",
]
