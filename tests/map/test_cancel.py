"""Tokens that tell a run to stop."""

from __future__ import annotations

import pytest

from pipefunc_c.map._engine.cancel import CancelToken, RunCancelledError


def test_a_token_is_set_once_and_for_all():
    token = CancelToken()
    assert not token.is_set
    token.check()
    token.cancel()
    token.cancel()
    assert token.is_set
    assert token.flag == b"\1"
    with pytest.raises(RunCancelledError):
        token.check()


def test_who_waits_is_woken_only_while_it_waits():
    token, woken = CancelToken(), []
    with token.waking(lambda: woken.append(1)):
        pass
    token.cancel()
    assert not woken
    token = CancelToken()
    with token.waking(lambda: woken.append(1)):
        token.cancel()
    assert woken == [1]
