"""Merging methods: plain functions ``AdapterSet -> MergedAdapters``, listed in ``METHODS``."""

from dataclasses import replace

from ..adapters import AdapterSet
from ..errors import UsageError
from ..formats.merged import DESCRIPTION
from ..training import CalibrationData
from .adamerging import adamerging
from .byom import byom
from .dare import dare, dare_ties
from .doge import doge
from .emr import emr
from .hydraopt import average, hydraopt
from .iso_c import iso_c
from .jd_diag import jd_diag
from .jd_full import jd_full
from .kmerge import kmerge
from .knots import knots
from .merged import Merged, MergedAdapters, Side
from .method import Method, parse_settings
from .onebit import onebit
from .private import private
from .quality import relative_error, relative_errors
from .supermerge import supermerge
from .surgery import surgery
from .task_arithmetic import task_arithmetic
from .ties import ties
from .tsv_merge import tsv_merge
from .zipit import zipit

METHODS: dict[str, Method] = {
    "hydraopt": Method(hydraopt, "HydraOpt, arXiv 2507.17706", True, "nothing", "R n + K R m"),
    "average": Method(average, "HydraOpt with K = 1", False, "nothing", "R (m + n)"),
    "private": Method(private, "no sharing", True, "nothing", "T r (m + n)"),
    "task-arithmetic": Method(
        task_arithmetic, "Task Arithmetic, arXiv 2212.04089", False, "nothing", "m n"
    ),
    "ties": Method(ties, "TIES-Merging, arXiv 2306.01708", False, "nothing", "m n"),
    "dare": Method(dare, "DARE, arXiv 2311.03099", False, "nothing", "m n"),
    "dare-ties": Method(dare_ties, "DARE, arXiv 2311.03099", False, "nothing", "m n"),
    "knots": Method(knots, "KnOTS, arXiv 2410.19735", False, "nothing", "m n"),
    "tsv-merge": Method(tsv_merge, "TSV-Merge, arXiv 2412.00081", False, "nothing", "m n"),
    "iso-c": Method(iso_c, "Iso-C, arXiv 2502.04959", False, "nothing", "m n"),
    "doge": Method(doge, "DOGE, arXiv 2501.01230", False, "nothing", "m n"),
    "emr": Method(
        emr, "EMR-Merging, arXiv 2405.17461", True, "nothing", "m n + T m n / 16, T scales in all"
    ),
    "1bit": Method(
        onebit, "1bit-Merging, arXiv 2502.10743", True, "nothing", "T m n / 16 + T, or m n merged"
    ),
    "byom": Method(byom, "BYOM-LoRA, arXiv 2310.01886", True, "nothing", "T R (m + n)"),
    "jd-full": Method(
        jd_full, "Compress then Serve, arXiv 2407.00066", True, "nothing", "R (m + n) + T R^2"
    ),
    "jd-diag": Method(
        jd_diag, "Compress then Serve, arXiv 2407.00066", True, "nothing", "R (m + n) + T R"
    ),
    "kmerge": Method(kmerge, "K-Merge, arXiv 2510.13537", True, "nothing", "K R (m + n)"),
    "zipit": Method(zipit, "ZipIt!, arXiv 2305.03053", False, "data", "R (m + n)"),
    "adamerging": Method(adamerging, "AdaMerging, arXiv 2310.02575", False, "data", "m n"),
    "surgery": Method(
        surgery, "Representation Surgery, arXiv 2402.02705", True, "data", "m n, 32 T d in all"
    ),
    "supermerge": Method(supermerge, "SuperMerge, arXiv 2412.10416", False, "labels", "m n"),
}


def find_method(method: str) -> Method:
    """The entry of ``METHODS``; raises ``UsageError`` if there is none."""
    if method not in METHODS:
        raise UsageError(f"no merging method {method!r}; there are: {', '.join(METHODS)}")
    return METHODS[method]


def merge_with(
    method: str, adapters: AdapterSet, data: CalibrationData | None = None, **settings: object
) -> MergedAdapters:
    """Merge by a method's name; the settings' values may be text.

    Raises:
        UsageError: no such method, a setting that it does not have, text of another type, or
            ``data`` missing or too much.
        MergeError: a setting's value that it cannot take.
        DataError: ``data`` that does not fit the adapters.
        TrainingError: a training that cannot go on.
    """
    found = find_method(method)
    values = {name: found.option(method, name, value) for name, value in settings.items()}
    merged = found.merge(method, adapters, data, values)
    return replace(merged, errors=relative_errors(adapters, merged))


__all__ = [
    "DESCRIPTION",
    "METHODS",
    "Merged",
    "MergedAdapters",
    "Method",
    "Side",
    "adamerging",
    "average",
    "byom",
    "dare",
    "dare_ties",
    "doge",
    "emr",
    "find_method",
    "hydraopt",
    "iso_c",
    "jd_diag",
    "jd_full",
    "kmerge",
    "knots",
    "merge_with",
    "onebit",
    "parse_settings",
    "private",
    "relative_error",
    "relative_errors",
    "supermerge",
    "surgery",
    "task_arithmetic",
    "ties",
    "tsv_merge",
    "zipit",
]
