"""All merging methods: importing a method's module registers it in ``METHODS``.

The order of the imports is the order in ``hydraopt methods``: methods that need only adapters come
first, then those that need prompts, then those that need answers.
"""

# ruff: noqa: F401
# isort: off
from . import hydraopt
from . import private
from . import task_arithmetic
from . import ties
from . import dare
from . import knots
from . import tsv_merge
from . import core_space
from . import ctm
from . import iso_c
from . import iso_cts
from . import doge
from . import emr
from . import onebit
from . import byom
from . import jd_full
from . import jd_diag
from . import kmerge
from . import zipit
from . import adamerging
from . import surgery
from . import supermerge
from .registry import METHODS

__all__ = ["METHODS"]
