"""Where this program runs: in a notebook or not."""

from __future__ import annotations

import sys


def in_notebook() -> bool:
    """Tell whether this is the kernel of a notebook, which can show pictures and widgets.

    Returns
    -------
    bool
        False in a terminal, also in that of IPython.

    Examples
    --------
    >>> in_notebook()
    False

    """
    # Whoever is in a notebook has imported IPython already.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"
