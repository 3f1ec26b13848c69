"""What tests of bad input share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pipefunc_c.exceptions import PipefuncError

if TYPE_CHECKING:
    from pipefunc_c import Pipeline


def refuse(
    pipeline: Pipeline,
    inputs: Any,
    error: type[Exception] | tuple[type[Exception], ...],
    *said: str,
    **options: Any,
) -> None:
    """Map, expect an error of ours that is a builtin one too, whose text says all of ``said``."""
    with pytest.raises(error) as caught:
        pipeline.map(inputs, **{"parallel": False, **options})
    assert isinstance(caught.value, PipefuncError)
    for text in said:
        assert text in str(caught.value)
