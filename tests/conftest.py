"""The rule for optional components, shared by all tests."""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
from typing import TYPE_CHECKING

import hypothesis  # noqa: F401  before the freeze: a plugin looks for who refers to it
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

REQUIRE_ALL = os.environ.get("PIPEFUNC_C_REQUIRE_ALL", "") not in ("", "0")


def pytest_collection_finish() -> None:
    """Keep what pytest holds of all tests out of each garbage collection: many tests ask for one."""
    gc.collect()
    gc.freeze()


def leave_out(message: str) -> None:
    """Skip the test; fail it where everything is required."""
    if REQUIRE_ALL:
        pytest.fail(f"{message} (PIPEFUNC_C_REQUIRE_ALL is set)")
    pytest.skip(message)


def require_component(name: str, *, reason: str) -> None:
    """Leave the test out if neither a module nor a program has this name."""
    if importlib.util.find_spec(name) is None and shutil.which(name) is None:
        leave_out(f"{name} is missing: {reason}")


@pytest.fixture(name="leave_out")
def leave_out_fixture() -> Callable[[str], None]:
    """Return the function that skips a test, or fails it where everything is required."""
    return leave_out


@pytest.fixture
def require() -> Callable[..., None]:
    """Return the function that leaves a test out if its optional component is missing."""
    return require_component
