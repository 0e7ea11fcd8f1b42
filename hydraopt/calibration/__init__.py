"""Tuning codes on a few prompts, without answers."""

from .prompts import read_prompts
from .steps import calibrate

__all__ = ["calibrate", "read_prompts"]
