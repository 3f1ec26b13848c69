"""Functions that keep what they receive, and functions that give what they are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipefunc_c import PipeFunc, Pipeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipefunc_c.map import ResultDict

MISSING = object()
# Ids that keep everything in memory: what is told of identity and views holds for all of them.
MEMORY_IDS = ("array", "dict", "shared_array", "shared_memory_dict")


class Recorder:
    """Keeps what its function received as ``x``."""

    def __init__(self, mapspec: str | None, annotation: Any = MISSING) -> None:
        self.received: list[Any] = []

        def record(x: Any) -> int:
            self.received.append(x)
            return len(self.received)

        if annotation is not MISSING:
            record.__annotations__ = {"x": annotation}
        self.function = PipeFunc(record, "recorded", mapspec=mapspec, print_error=False)

    def map(self, value: Any, **options: Any) -> list[Any]:
        Pipeline([self.function]).map({"x": value}, parallel=False, **options)
        return self.received


def producer(values: Sequence[Any], mapspec: str = "k[i] -> x[i]", **options: Any) -> PipeFunc:
    """Make a function whose element k is ``values[k]``."""

    def produce(k: int) -> Any:
        return values[k]

    return PipeFunc(produce, "x", mapspec=mapspec, **options)


def reduce(values: Sequence[Any], annotation: Any = MISSING, **options: Any) -> tuple[Any, ResultDict]:
    """Map ``values`` out of a producer and give what a reduction receives of them."""
    recorder = Recorder(None, annotation)
    pipeline = Pipeline([producer(values), recorder.function])
    results = pipeline.map({"k": range(len(values))}, parallel=False, **options)
    assert len(recorder.received) == 1
    return recorder.received[0], results
