"""Frames of polars as outputs and arguments."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import polars as pl
import pytest

from pipefunc_c import PipeFunc, Pipeline
from pipefunc_c.map import load_all_outputs, load_outputs
from pipefunc_c.map._stages.polars import parquet_of

pytestmark = pytest.mark.timeout(60)


def make(n: int) -> pl.DataFrame:
    return pl.DataFrame({"a": range(n), "b": ["text"] * n})


def add(frame: pl.LazyFrame) -> int:
    assert isinstance(frame, pl.LazyFrame)
    return frame.select(pl.col("a").sum()).collect().item()


def add_one(frame: pl.LazyFrame | None, x: int) -> int:
    assert isinstance(frame, pl.LazyFrame)
    return x


def keep(frame: pl.DataFrame) -> str:
    return type(frame).__name__


FUNCTIONS = [
    PipeFunc(make, "frame"),
    PipeFunc(add, "total"),
    PipeFunc(add_one, "y", mapspec="x[i] -> y[i]"),
    PipeFunc(keep, "kind"),
]
INPUTS = {"n": 3, "x": [1, 2]}


@pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "parallel"])
@pytest.mark.parametrize("with_folder", [False, True], ids=["memory", "folder"])
def test_a_frame_goes_lazily_where_it_is_asked_for(tmp_path, parallel, with_folder):
    folder = tmp_path / "run" if with_folder else None
    results = Pipeline(FUNCTIONS).map(INPUTS, folder, parallel=parallel)
    assert results["total"].output == 3
    assert results["y"].output.tolist() == [1, 2]
    assert results["kind"].output == "DataFrame"
    assert results["frame"].output.equals(make(3))


def test_an_input_goes_lazily_too():
    assert Pipeline([PipeFunc(add, "total")]).map({"frame": make(3)}, parallel=False)["total"].output == 3


def test_a_resumed_run(tmp_path):
    functions = [PipeFunc(make, "frame")]
    Pipeline(functions).map({"n": 3}, tmp_path / "run", parallel=False)
    with_sum = [*functions, PipeFunc(add, "total")]
    assert Pipeline(with_sum).map({"n": 3}, tmp_path / "other", parallel=False)["total"].output == 3
    again = Pipeline(with_sum).map({"n": 3}, tmp_path / "other", parallel=False, resume=True)
    assert again["frame"].output.equals(make(3))


def test_a_frame_is_exported_as_parquet(tmp_path):
    Pipeline(FUNCTIONS).map(INPUTS, tmp_path, parallel=False)
    path = tmp_path / "outputs/frame.cloudpickle"
    assert path.read_bytes()[:4] == b"PAR1"
    assert pl.read_parquet(path).equals(make(3))
    assert load_outputs("frame", run_folder=tmp_path).equals(make(3))
    assert load_all_outputs(tmp_path)["frame"].equals(make(3))


def test_a_frame_that_parquet_cannot_hold_is_no_parquet():
    assert parquet_of(pl.DataFrame({"a": pl.Series([{1}, {2}], dtype=pl.Object)})) is None


@pytest.mark.parametrize("value", [1, "text", [1], None, {"a": 1}], ids=str)
def test_other_outputs_are_no_parquet(value):
    assert parquet_of(value) is None


def test_a_lazy_frame_fits_no_frame():
    def make_lazy(n: int) -> pl.LazyFrame:
        return make(n).lazy()

    with pytest.raises(TypeError, match="'frame' as LazyFrame, but 'keep' takes it as DataFrame"):
        Pipeline([PipeFunc(make_lazy, "frame"), PipeFunc(keep, "kind")])


def test_polars_is_not_imported_without_need(tmp_path):
    program = textwrap.dedent(
        """
        import sys
        from pipefunc_c import Pipeline, pipefunc
        @pipefunc("y")
        def double(x: int) -> int:
            return 2 * x
        Pipeline([double]).map({"x": 1}, sys.argv[1], parallel=False)
        assert "polars" not in sys.modules
        """
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "run"], check=True, timeout=60)
