"""The pickler for what another process cannot import: classes and functions go with it, by value."""

from __future__ import annotations

import sys
from typing import Any

from pipefunc_c._optional import require


def by_value_pickler() -> Any:
    """Give the pickler class of cloudpickle; it takes the main module of a spawned process by value too.

    Returns
    -------
    type
        As `pickle.Pickler`.

    Examples
    --------
    >>> import io, pickle
    >>> file = io.BytesIO()
    >>> by_value_pickler()(file, 5).dump(lambda x: x + 1)
    >>> pickle.loads(file.getvalue())(2)
    3

    """
    cloudpickle = require("cloudpickle")
    spawned = sys.modules.get("__mp_main__")
    if spawned is not None and spawned.__name__ == "__mp_main__":
        cloudpickle.register_pickle_by_value(spawned)
    return cloudpickle.Pickler
