"""Many LoRA adapters of one base model on one phone.

    adapters = read_adapters(["adapters/mail", "adapters/chat"])
    coded = compress(adapters, "5%")                 # or merge("ties", adapters)
    export(coded, "base", "bundle")
    session = Session.open("bundle")
    session.switch("mail")

torch, transformers and executorch are imported when a name that needs them is first used.
"""

import importlib
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .adapters import AdapterSet, read_adapters
    from .bundles import install_update
    from .compression import compress, compress_within_drop
    from .lowering.bundle import export_bundle as export
    from .lowering.settings import ExportSettings
    from .merging import merge_with as merge
    from .packing import open_stored
    from .runtime import Sampling, Session, verify

# Both warn about their own builds at import, which users cannot act on.
for _name in ("torch.utils._pytree", "torchao"):
    logging.getLogger(_name).setLevel(logging.ERROR)

_PLACES = {
    "AdapterSet": ("adapters", "AdapterSet"),
    "ExportSettings": ("lowering.settings", "ExportSettings"),
    "Sampling": ("runtime", "Sampling"),
    "Session": ("runtime", "Session"),
    "compress": ("compression", "compress"),
    "compress_within_drop": ("compression", "compress_within_drop"),
    "export": ("lowering.bundle", "export_bundle"),
    "install_update": ("bundles", "install_update"),
    "merge": ("merging", "merge_with"),
    "open_stored": ("packing", "open_stored"),
    "read_adapters": ("adapters", "read_adapters"),
    "verify": ("runtime", "verify"),
}

__all__ = [
    "AdapterSet",
    "ExportSettings",
    "Sampling",
    "Session",
    "compress",
    "compress_within_drop",
    "export",
    "install_update",
    "merge",
    "open_stored",
    "read_adapters",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(importlib.import_module(f".{module}", __name__), attribute)
