"""Add and remove tasks of a bundle without its base model."""

from .tasks import add_task, remove_task

__all__ = ["add_task", "remove_task"]
