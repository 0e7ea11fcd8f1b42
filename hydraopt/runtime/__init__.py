"""Running bundles on the ExecuTorch runtime."""

from .session import Session, verify

__all__ = ["Session", "verify"]
