"""The package whose interface ours is; imported only where it is measured, for it brings a lot along."""

from __future__ import annotations

import importlib
from typing import Any

from report import Figure, duration

try:
    peer: Any = importlib.import_module("pipefunc")
except ImportError:
    peer = None

PEER_ELEMENTS = 20_000  # it costs the same per element from here on


def peer_figure(work: str, seconds: dict[str, float], at_least: float | None) -> Figure:
    """Give the figure against the peer."""
    name = f"{work}: times faster than pipefunc"
    if "peer" not in seconds:
        return Figure(
            name, None, "x", at_least, at_least=True, detail="pipefunc is not installed (extra bench)"
        )
    detail = f"pipefunc {duration(seconds['peer'])}"
    return Figure(name, seconds["peer"] / seconds["ours"], "x", at_least, at_least=True, detail=detail)
