"""``hydraopt export``: from its options to a bundle."""

from pathlib import Path
from typing import NamedTuple

from .errors import UsageError
from .lowering.bundle import Exported, export_bundle
from .lowering.form import Form
from .lowering.static import export_static, is_fixed, open_fixed
from .packing import open_merged


class Target(NamedTuple):
    """What to lower with the adapters, how, and where to."""

    base: str
    bundle: Path
    form: Form
    overwrite: bool


def export(source: Path, target: Target, swap: str | None, *, static: bool) -> Exported:
    """Export a directory of adapters as the options say.

    Raises:
        UsageError: options that do not go together.
        HydraOptError: as the steps raise it.
    """
    base, bundle, form, overwrite = target
    if not static and not is_fixed(source):
        merged = open_merged(source)
        return export_bundle(merged, base, bundle, form, swap=swap or "inputs", overwrite=overwrite)
    if swap:
        raise UsageError("--swap does not go with one model for all tasks: nothing is swapped")
    return export_static(open_fixed(source), base, bundle, form, overwrite=overwrite)
