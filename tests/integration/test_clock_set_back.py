"""SQLite: a machine that booted a year ahead wrote its leases and waits; then its clock was put right."""

from __future__ import annotations

import pytest

from flask_dualstorage.policy.planning import LONGEST_LEASE, is_held, lease_end
from flask_dualstorage.sync.flush import flush
from tests.integration.test_told import claim_and_die
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream
from tests.whole import Clock, MakeApp, User, storage_of

YEAR = 365 * 86_400.0


def test_a_write_that_was_being_sent_is_not_stranded(user: User, clock: Clock):
    alice = user()
    result = alice.collection("people").fetch().get(1).save(age=41, remote=False)
    claim_and_die(alice, result.write_id)
    clock.advance(-YEAR)
    assert alice.sync().applied == 1


@pytest.mark.parametrize("status", [429, 503])
def test_nor_one_that_was_asked_to_wait(user: User, upstream: RestUpstream, clock: Clock, status: int):
    alice = user()
    upstream.then(answer(status, headers={"Retry-After": "60"}))
    alice.collection("people").create(name="Turing")
    clock.advance(-YEAR)
    alice._engine.upstream("default").breaker.succeeded()
    alice._engine.bases.forget_open_until(alice._engine.upstream("default").shared_name)
    assert alice.sync().applied == 1


def test_workers_find_it(make_app: MakeApp, upstream: RestUpstream, clock: Clock):
    storage = storage_of(make_app(url=upstream.url))
    alice = storage.for_user("alice")
    result = alice.collection("people").fetch().get(1).save(age=41, remote=False)
    claim_and_die(alice, result.write_id)
    assert storage.owners(due=True) == []
    clock.advance(-YEAR)
    assert storage.owners(due=True) == ["user:alice"]
    assert flush(alice._engine, "user:alice", explicit=False).applied == 1


def test_no_lease_is_longer_than_the_longest():
    assert lease_end(0.0, 1e9) == LONGEST_LEASE
    assert is_held(lease_end(0.0, 1e9), 0.0, LONGEST_LEASE)
    assert not is_held(LONGEST_LEASE + 1, 0.0, LONGEST_LEASE)
