"""Changing a bundle without its base model: adding a task and taking one out."""

from .tasks import add_task, remove_task

__all__ = ["add_task", "remove_task"]
