"""Import of third-party packages at first use, so that importing pipefunc_c stays cheap."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType  # noqa: TC003  callers may evaluate the hints
from typing import Any

from pipefunc_c._errors import MissingDependencyError


def require(module: str, *, package: str | None = None, extra: str | None = None) -> ModuleType:
    """Import a module of a third-party package.

    Parameters
    ----------
    module
        Name of the module, dots allowed.
    package
        Name that the package has for pip, if it is not the first part of `module`.
    extra
        The extra of pipefunc_c that installs it, if there is one.

    Returns
    -------
    types.ModuleType
        The module.

    Raises
    ------
    MissingDependencyError
        If the package is not installed; the message says how to install it.
    ImportError
        If the package is installed but its import fails.

    Examples
    --------
    >>> require("numpy.linalg").__name__
    'numpy.linalg'
    >>> require("no_such_module", package="no-such", extra="all")
    Traceback (most recent call last):
        ...
    pipefunc_c.exceptions.MissingDependencyError: this needs the package 'no-such', which is not installed
    Hint: Run: pip install "pipefunc_c[all]"

    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        root = module.partition(".")[0]
        # A package that is there but lacks something itself must not be called missing.
        if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
            raise
        name = package or root
        target = f'"pipefunc_c[{extra}]"' if extra else name
        message = f"this needs the package {name!r}, which is not installed"
        if root != error.name:
            message = f"this needs the module {module!r} of the package {name!r}, which this version lacks"
        raise MissingDependencyError(message, detail=name, hint=f"Run: pip install {target}") from error


def is_available(module: str) -> bool:
    """Say whether a module can be found, without importing it.

    Parameters
    ----------
    module
        Name of the module; of a dotted name the parents are imported.

    Returns
    -------
    bool
        True if it is imported already or could be found.

    Examples
    --------
    >>> is_available("numpy"), is_available("no_such_module")
    (True, False)

    """
    if module in sys.modules:
        return sys.modules[module] is not None
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a parent is missing; or a module without a spec stands in its place
        return False


class Later:
    """Stand for a module, which is imported when something of it is first asked for.

    Parameters
    ----------
    module
        Name of the module.

    Examples
    --------
    >>> Later("fractions").Fraction(2, 4)
    Fraction(1, 2)

    """

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(require(self._module), name)
