"""The first error stops a map: what is raised, what it says, and what was done before."""

from __future__ import annotations

import signal
import traceback

import numpy as np
import pytest
from map.record import MEMORY_IDS

from pipefunc_c import ErrorSnapshot, PipeFunc, Pipeline, pipefunc

pytestmark = pytest.mark.timeout(30)

N = 5000


class CustomError(Exception):
    """Takes two arguments, so it can be neither copied nor made again from its text."""

    def __init__(self, value, reason):
        super().__init__(f"{value}: {reason}")
        self.value = value


def failing_at(place, calls, error=None, **options):
    """Make a function of ``x`` and ``k`` that fails where x is ``place``."""

    def fragile(x, k=7):
        calls.append(x)
        if x == place:
            raise error if error is not None else CustomError(x, "no")
        return x

    return PipeFunc(fragile, "y", mapspec="x[i] -> y[i]", print_error=False, **options)


def fail(pipeline, error=CustomError, **options):
    with pytest.raises(error) as caught:
        pipeline.map({"x": range(N)}, parallel=False, **options)
    return caught.value


class TestWhatIsRaised:
    @pytest.mark.parametrize("place", [0, 1, N // 2, N - 1], ids=["first", "second", "middle", "last"])
    def test_at_any_place(self, place):
        calls = []
        error = fail(Pipeline([failing_at(place, calls)]))
        assert type(error) is CustomError
        assert error.value == place
        assert calls == list(range(place + 1)), "elements were skipped, repeated or computed after the error"

    @pytest.mark.parametrize("storage", MEMORY_IDS)
    def test_nothing_downstream_runs(self, storage):
        calls, later = [], []

        @pipefunc("z", mapspec="y[i] -> z[i]")
        def map_it(y):
            later.append(y)

        @pipefunc("total")
        def reduce_it(y):
            later.append(y)

        fail(Pipeline([failing_at(3, calls), map_it, reduce_it]), storage=storage)
        assert calls == [0, 1, 2, 3]
        assert not later

    @pytest.mark.parametrize("strategy", ["generation", "eager"])
    def test_no_other_branch_runs_afterwards(self, strategy):
        order = []

        def branch(name, fails):
            def work(x):
                order.append(name)
                if fails:
                    raise CustomError(x, name)
                return x

            return PipeFunc(work, name, mapspec=f"x[i] -> {name}[i]", print_error=False)

        fail(
            Pipeline([branch("a", False), branch("b", True), branch("c", False)]),
            scheduling_strategy=strategy,
        )
        assert order.count("b") == 1
        assert order[-1] == "b"

    def test_it_is_the_very_exception(self):
        error = ValueError("mine")
        assert fail(Pipeline([failing_at(2, [], error)]), ValueError) is error

    @pytest.mark.parametrize(
        "error",
        [StopIteration(5), KeyError("k"), MemoryError(), RecursionError(), GeneratorExit(), AssertionError()],
        ids=lambda error: type(error).__name__,
    )
    def test_special_types_stay(self, error):
        assert fail(Pipeline([failing_at(2, [], error)]), type(error)) is error

    def test_a_chain_of_causes_stays(self):
        @pipefunc("y", mapspec="x[i] -> y[i]", print_error=False)
        def chained(x):
            try:
                _ = 1 / 0
            except ZeroDivisionError as error:
                raise CustomError(x, "chained") from error

        error = fail(Pipeline([chained]))
        assert type(error.__cause__) is ZeroDivisionError

    def test_a_group_of_exceptions(self):
        group = ExceptionGroup("several", [ValueError(1), TypeError(2)])
        assert fail(Pipeline([failing_at(2, [], group)]), ExceptionGroup) is group

    def test_after_an_error_the_pipeline_runs_again(self):
        calls = []
        pipeline = Pipeline([failing_at(7, calls)])
        fail(pipeline)
        assert pipeline.map({"x": [1, 2]}, parallel=False)["y"].output.tolist() == [1, 2]

    @pytest.mark.parametrize("error_handling", ["raise", "continue"])
    @pytest.mark.parametrize(
        "error", [KeyboardInterrupt, SystemExit, GeneratorExit], ids=lambda e: e.__name__
    )
    def test_what_is_no_exception_stops_in_both_modes(self, error_handling, error):
        calls, later = [], []

        @pipefunc("z", mapspec="y[i] -> z[i]")
        def after(y):
            later.append(y)

        pipeline = Pipeline([failing_at(3, calls, error(4)), after])
        caught = fail(pipeline, error, error_handling=error_handling)
        assert caught.args == (4,)
        assert calls == [0, 1, 2, 3]
        assert not later
        assert pipeline.error_snapshot is None

    def test_ctrl_c_within_an_element(self):
        calls = []

        @pipefunc("y", mapspec="x[i] -> y[i]")
        def interrupted(x):
            calls.append(x)
            if x == 5:
                signal.raise_signal(signal.SIGINT)
            return x

        fail(Pipeline([interrupted]), KeyboardInterrupt, error_handling="continue")
        assert calls == list(range(6))


class TestNote:
    def test_element_and_arguments_are_named(self):
        error = fail(Pipeline([failing_at(3, [])]))
        [note] = error.__notes__
        assert "fragile(x=3, k=7)" in note
        assert "'y'" in note
        assert "i=3" in note

    def test_all_axes_are_named(self):
        @pipefunc("z", mapspec="a[i], b[j] -> z[j, i]", print_error=False)
        def grid(a, b):
            if (a, b) == (1, 20):
                raise CustomError(a, b)

        with pytest.raises(CustomError) as caught:
            Pipeline([grid]).map({"a": [0, 1, 2], "b": [0, 10, 20, 30]}, parallel=False)
        [note] = caught.value.__notes__
        assert "i=1" in note
        assert "j=2" in note
        assert "element 7 of 12" in note

    def test_arguments_have_native_names(self):
        func = failing_at(3, [])
        pipeline = Pipeline([func])
        pipeline.update_renames({"x": "s.value"}, update_from="current")
        with pytest.raises(CustomError) as caught:
            pipeline.map({"s.value": [3]}, parallel=False)
        assert "fragile(x=3, k=7)" in caught.value.__notes__[0]

    def test_long_arguments_are_cut(self):
        @pipefunc("y", mapspec="x[i] -> y[i]", print_error=False)
        def take(x, whole):
            raise CustomError(x, "no")

        with pytest.raises(CustomError) as caught:
            Pipeline([take]).map({"x": ["a" * 10**6], "whole": list(range(10**6))}, parallel=False)
        assert len(caught.value.__notes__[0]) < 2000

    def test_one_note_for_one_exception_in_every_map(self):
        error = ValueError("shared")
        pipeline = Pipeline([failing_at(3, [], error)])
        for _ in range(3):
            fail(pipeline, ValueError)
        assert len(error.__notes__) == 1

    def test_it_is_printed_once(self, capsys):
        pipeline = Pipeline([failing_at(3, [])])
        pipeline.print_error = True
        fail(pipeline)
        assert capsys.readouterr().out.count("An error occurred while calling fragile(x=3, k=7)") == 1

    def test_print_error_false_prints_nothing(self, capsys):
        fail(Pipeline([failing_at(3, [])]))
        assert capsys.readouterr() == ("", "")

    def test_the_users_frame_is_the_last(self):
        error = fail(Pipeline([failing_at(3, [])]))
        frames = traceback.extract_tb(error.__traceback__)
        assert frames[-1].name == "fragile"
        assert not [frame for frame in frames if frame.filename.endswith(".pyx")]

    def test_frames_below_the_users_stay(self):
        def inner(x):
            raise CustomError(x, "deep")

        @pipefunc("y", mapspec="x[i] -> y[i]", print_error=False)
        def outer(x):
            return inner(x)

        frames = traceback.extract_tb(fail(Pipeline([outer])).__traceback__)
        assert [frame.name for frame in frames[-2:]] == ["outer", "inner"]


class TestSnapshot:
    def test_on_the_function_and_the_pipeline(self):
        pipeline = Pipeline([failing_at(3, [])])
        assert pipeline.error_snapshot is None
        error = fail(pipeline)
        snapshot = pipeline["y"].error_snapshot
        assert type(snapshot) is ErrorSnapshot
        assert pipeline.error_snapshot is snapshot
        assert snapshot.exception is error
        assert (snapshot.args, snapshot.kwargs) == ((), {"x": 3, "k": 7})
        assert "fragile" in snapshot.traceback
        assert "raise error if error" in snapshot.traceback
        assert ".pyx" not in snapshot.traceback

    def test_reproduce(self):
        calls = []
        pipeline = Pipeline([failing_at(3, calls)])
        fail(pipeline)
        calls.clear()
        with pytest.raises(CustomError, match="3: no"):
            pipeline.error_snapshot.reproduce()
        assert calls == [3]

    def test_reproduce_with_renamed_bound_and_positional_arguments(self):
        seen = []

        def picky(a, /, b, *, c=3):
            seen.append((a, b, c))
            raise CustomError(a, b)

        func = PipeFunc(
            picky,
            "y",
            renames={"a": "x", "b": "y0"},
            bound={"y0": 5},
            mapspec="x[i] -> y[i]",
            print_error=False,
        )
        pipeline = Pipeline([func])
        fail(pipeline)
        with pytest.raises(CustomError):
            pipeline.error_snapshot.reproduce()
        assert seen == [(0, 5, 3)] * 2

    def test_saved_and_loaded(self, tmp_path):
        pipeline = Pipeline([failing_at(np.float64(3), [], ValueError("kept"))])
        fail(pipeline, ValueError)
        pipeline.error_snapshot.save_to_file(tmp_path / "error")
        loaded = ErrorSnapshot.load_from_file(tmp_path / "error")
        assert loaded.kwargs == {"x": 3, "k": 7}
        with pytest.raises(ValueError, match="kept"):
            loaded.reproduce()

    def test_arguments_are_those_of_the_element_that_failed(self):
        """Arguments that the loop may reuse are not overwritten by the next ones."""
        array = np.arange(1000.0)
        kept = []

        @pipefunc("y", mapspec="x[i], w[i] -> y[i]", print_error=False)
        def fragile(x, w):
            if x == 500:
                kept.append((x, w))
                raise CustomError(x, w)
            return x

        pipeline = Pipeline([fragile])
        with pytest.raises(CustomError):
            pipeline.map({"x": array, "w": -array}, parallel=False)
        assert pipeline.error_snapshot.kwargs == {"x": 500.0, "w": -500.0}
        pipeline.map({"x": array[:3], "w": array[:3]}, parallel=False)
        assert kept == [(500.0, -500.0)]

    def test_of_a_single_call(self):
        @pipefunc("y", print_error=False)
        def single(a, b=2):
            raise CustomError(a, b)

        pipeline = Pipeline([single])
        with pytest.raises(CustomError) as caught:
            pipeline.map({"a": 1}, parallel=False)
        [note] = caught.value.__notes__
        assert "single(a=1, b=2)" in note
        assert "element" not in note
        assert pipeline.error_snapshot.kwargs == {"a": 1, "b": 2}

    def test_of_a_picker(self):
        def pick(output, name):
            raise CustomError(name, "picker")

        func = PipeFunc(
            lambda x: x, ("y", "z"), mapspec="x[i] -> y[i], z[i]", output_picker=pick, print_error=False
        )
        pipeline = Pipeline([func])
        error = fail(pipeline)
        assert error.value == "y"
        assert any("i=0" in note for note in error.__notes__)

    def test_too_few_outputs(self):
        func = PipeFunc(lambda x: (x,), ("y", "z"), mapspec="x[i] -> y[i], z[i]", print_error=False)
        with pytest.raises((ValueError, IndexError)) as caught:
            Pipeline([func]).map({"x": [1]}, parallel=False)
        assert any("i=0" in note for note in caught.value.__notes__)
