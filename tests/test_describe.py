from __future__ import annotations

import datetime
import getpass
import os
import socket

import pytest

from pipefunc_c import _describe


class array:  # noqa: N801  the name that reprlib would take for array.array
    def __repr__(self):
        return "mine"


def test_short_repr_of_a_class_that_reprlib_mistakes():
    assert "array object" in _describe.short_repr(array())


def test_short_repr_keeps_short_values_whole():
    value = {"x": [1, 2.5, "text"], "y": (None,)}
    assert _describe.short_repr(value) == repr(value)


def test_arguments_text():
    assert _describe.arguments_text({}) == " none"
    assert _describe.arguments_text({"x": 1, "y": "a"}) == "\n    x = 1\n    y = 'a'"


def test_timestamp_has_an_offset():
    assert datetime.datetime.fromisoformat(_describe.timestamp_now()).tzinfo is not None


@pytest.mark.parametrize("error", [KeyError("uid not found"), OSError(2, "no such user")], ids=repr)
def test_user_without_a_name(monkeypatch, error):
    def nobody():
        raise error

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert _describe.user_name.__wrapped__() == "unknown"


def test_ip_address_is_numeric():
    socket.inet_aton(_describe.ip_address())


def test_deleted_directory(tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(OSError, match="No such file"):
        os.getcwd()
    assert _describe.current_directory() == "unknown"
