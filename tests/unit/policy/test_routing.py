"""Which way a call goes: every combination of the flags of DESIGN §4.1."""

from __future__ import annotations

import pytest

from flask_dualstorage.policy.routing import Route, route


@pytest.mark.parametrize(
    ("local", "remote", "call_remote", "way"),
    [
        pytest.param(False, False, True, Route.DUAL, id="none: dual"),
        pytest.param(False, False, False, Route.DEFERRED, id="remote=False on the call: kept for later"),
        pytest.param(True, False, True, Route.LOCAL, id="local: never sent"),
        pytest.param(True, False, False, Route.LOCAL, id="local, with remote=False: still local, never dirty"),
        pytest.param(False, True, True, Route.REMOTE, id="remote: upstream only"),
        pytest.param(False, True, False, Route.REMOTE, id="remote, with remote=False: the first flag that applies"),
        pytest.param(True, True, True, Route.REMOTE, id="local and remote from methods: remote wins"),
        pytest.param(True, True, False, Route.REMOTE, id="all three: remote wins"),
    ],
)
def test_the_first_flag_that_applies_chooses_the_way(local: bool, remote: bool, call_remote: bool, way: Route):
    assert route(local=local, remote=remote, call_remote=call_remote) is way
