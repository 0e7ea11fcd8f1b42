"""From merged adapters and a base model to a bundle: slots, torch.export, XNNPACK, manifest.

The export stack takes seconds to import, so this package imports none of it: import
``lowering.bundle`` to export; what it writes is read by ``formats``.
"""
