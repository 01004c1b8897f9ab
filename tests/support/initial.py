"""Models to start from."""

from collections.abc import Sequence

from app.base.tasks import Task, TaskName


def all_classes(tasks: Sequence[Task]) -> dict[TaskName, tuple[str, ...]]:
    """As a run that is taught everything has them."""
    return {task.name: task.class_names for task in tasks}
