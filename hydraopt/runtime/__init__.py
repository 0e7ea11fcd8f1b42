"""Running bundles on the ExecuTorch runtime."""

from .sampling import Sampling
from .session import Session
from .verify import verify

__all__ = ["Sampling", "Session", "verify"]
