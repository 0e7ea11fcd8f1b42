"""Running bundles on the ExecuTorch runtime."""

from .chat import Chat
from .endings import End
from .sampling import Sampling
from .session import Session
from .verify import verify

__all__ = ["Chat", "End", "Sampling", "Session", "verify"]
