"""What stands in a snapshot for an argument that cannot be read."""

from __future__ import annotations


class NotLoaded:
    """Stand for an argument of a failed call that could not be read.

    Examples
    --------
    >>> NotLoaded("x", "its file is damaged")
    <x could not be read: its file is damaged>
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason

    def __repr__(self) -> str:
        """Say what and why."""
        return f"<{self.name} could not be read: {self.reason}>"
