"""Fit codes to a few prompts without answers."""

from .codes import calibrate
from .prompts import read_prompts

__all__ = ["calibrate", "read_prompts"]
