"""Lower a base model and its adapters to a bundle with ``torch.export`` and ExecuTorch.

The export stack takes seconds to import, so this module imports none of it: import
``lowering.bundle`` to export, and ``formats`` to read a bundle.
"""
