"""Running bundles on the ExecuTorch runtime."""

from .sampling import Sampling
from .session import Session, verify

__all__ = ["Sampling", "Session", "verify"]
