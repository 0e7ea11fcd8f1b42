"""Add and remove tasks of a bundle without its base model."""

from .tasks import add_task, remove_task
from .updates import install_update

__all__ = ["add_task", "install_update", "remove_task"]
