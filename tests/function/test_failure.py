from __future__ import annotations

import dataclasses

import pytest

from pipefunc_c._function.failure import record_failure
from pipefunc_c._function.pipefunc import PipeFunc
from pipefunc_c.exceptions import ErrorSnapshot


class RefusesNotes(Exception):
    def add_note(self, note):
        raise RuntimeError("no notes")


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):  # noqa: N818  a name for a test
    text: str


class Slotted(Exception):  # noqa: N818
    __slots__ = ()


class BrokenAttributes(Exception):  # noqa: N818
    def __getattribute__(self, name):
        if name == "__notes__":
            raise RuntimeError("no attributes")
        return super().__getattribute__(name)


class BrokenStr(Exception):  # noqa: N818
    def __str__(self):
        raise RuntimeError("no str")


class BrokenRepr:
    def __repr__(self):
        raise RuntimeError("no repr")


ODD = {
    "refuses notes": RefusesNotes("x"),
    "frozen": Frozen("x"),
    "slotted": Slotted("x"),
    "broken attributes": BrokenAttributes("x"),
    "broken str": BrokenStr("x"),
}


def raiser(exception):
    def fail(x, k=2):
        raise exception

    return fail


def test_what_is_recorded(capsys):
    func = PipeFunc(raiser(ValueError("too small")), "y", renames={"x": "z"})
    with pytest.raises(ValueError, match="too small") as caught:
        func(z=1)
    snapshot = func.error_snapshot
    assert isinstance(snapshot, ErrorSnapshot)
    assert snapshot.exception is caught.value
    assert snapshot.function is func.func
    assert (snapshot.args, snapshot.kwargs) == ((), {"x": 1, "k": 2})
    assert "in fail" in snapshot.traceback
    assert caught.value.__notes__ == ["Error in fail(x=1, k=2), which computes 'y'."]
    assert capsys.readouterr().out == (
        "An error occurred while calling fail(x=1, k=2): ValueError: too small\n"
    )


def test_print_error_false_prints_nothing(capsys):
    func = PipeFunc(raiser(ValueError("no")), "y", print_error=False)
    with pytest.raises(ValueError, match="no"):
        func(1)
    assert capsys.readouterr().out == ""
    assert func.error_snapshot is not None


def test_where_is_named():
    func = PipeFunc(raiser(ValueError()), "y", print_error=False)
    error = ValueError()
    record_failure(func, error, {"x": 1}, where="element (2, 3)")
    assert error.__notes__ == ["Error in fail(x=1, k=2), which computes 'y', at element (2, 3)."]


@pytest.mark.parametrize("error", [ValueError("x"), *ODD.values()], ids=["ordinary", *ODD])
def test_note_and_print_are_made_once(error, capsys):
    func = PipeFunc(raiser(error), "y")
    for _ in range(2):
        assert record_failure(func, error, {"x": 1}).exception is error
    assert capsys.readouterr().out.count("An error occurred") == 1
    try:
        notes = getattr(error, "__notes__", [])
    except RuntimeError:
        notes = []
    assert len(notes) <= 1


@pytest.mark.parametrize("error", ODD.values(), ids=ODD)
def test_odd_exceptions_come_through_unchanged(error, capsys):
    func = PipeFunc(raiser(error), "y")
    with pytest.raises(type(error)) as caught:
        func(BrokenRepr())
    assert caught.value is error
    assert func.error_snapshot.exception is error
    assert "An error occurred while calling fail(x=<" in capsys.readouterr().out


def test_an_exception_that_is_raised_again_with_other_arguments_is_recorded_again():
    shared = ValueError("always the same")
    func = PipeFunc(raiser(shared), "y", print_error=False)
    for x in (1, 2):
        with pytest.raises(ValueError, match="always"):
            func(x)
        assert func.error_snapshot.kwargs["x"] == x
    assert len(shared.__notes__) == 2


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_what_is_no_exception_is_not_recorded(stop, capsys):
    func = PipeFunc(raiser(stop()), "y", renames={"x": "z"})
    with pytest.raises(stop):
        func(z=1)
    assert func.error_snapshot is None
    assert capsys.readouterr().out == ""


def test_positional_only_arguments_can_be_reproduced():
    def divide(a, b, /, c=1):
        return a / b / c

    func = PipeFunc(divide, "y", print_error=False)
    with pytest.raises(ZeroDivisionError):
        func(a=1, b=0)
    assert (func.error_snapshot.args, func.error_snapshot.kwargs) == ((1, 0), {"c": 1})
    with pytest.raises(ZeroDivisionError):
        func.error_snapshot.reproduce()


def test_a_function_inside_of_another_gives_both_notes():
    inner = PipeFunc(raiser(ValueError("inside")), "inner", print_error=False)
    outer = PipeFunc(lambda z: inner(x=z), "outer", print_error=False)
    with pytest.raises(ValueError, match="inside") as caught:
        outer(z=3)
    assert [note.split(",")[-1] for note in caught.value.__notes__] == [
        " which computes 'inner'.",
        " which computes 'outer'.",
    ]
