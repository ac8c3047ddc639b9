"""Several upstreams of one app: what is one's is never the other's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask

from flask_dualstorage import Collection, Dialect, DualStorage
from flask_dualstorage.extension import AppDualStorage
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.behaviours import drip
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream
from tests.whole import Clock, MakeApp, storage_of

CREDENTIALS = {"default": "Bearer of people", "billing": "Bearer of bills"}


@dataclass
class Two:
    """An app in front of two APIs: people at the default one, bills at ``billing``."""

    app: Flask
    people: RestUpstream
    billing: RestUpstream

    @property
    def storage(self) -> AppDualStorage:
        return storage_of(self.app)

    @property
    def alice(self) -> UserStorage:
        return self.storage.for_user("alice")


@pytest.fixture
def two(make_app: MakeApp, upstream: RestUpstream) -> Iterator[Two]:
    dualstorage = DualStorage()
    dualstorage.upstream_auth(lambda owner, upstream: {"Authorization": CREDENTIALS[upstream]})

    @dualstorage.register
    class Bills(Collection):
        upstream = "billing"
        dialect = Dialect(update_method="PATCH", id_attribute="number")

    with RestUpstream({"/bills": [{"number": 7, "sum": 10}]}, id_attribute="number") as billing:
        config: dict[str, Any] = {
            "DUALSTORAGE_BREAKER_THRESHOLD": 1,
            "DUALSTORAGE_UPSTREAMS": {
                "billing": {
                    "url": billing.url,
                    "timeout": (10, 0.3),
                    "idempotency_header": "X-Request-Id",
                    "breaker_cooldown": 60,
                }
            },
        }
        yield Two(make_app(dualstorage, url=upstream.url, **config), upstream, billing)


def test_a_credential_for_one_never_goes_to_the_other(two: Two):
    """Neither in a read, nor in a save, nor in a flush that goes to both."""
    people, bills = (two.alice.collection(name).fetch() for name in ("people", "bills"))
    for collection, fields in ((people, {"name": "Turing"}), (bills, {"sum": 5})):
        collection.create(fields)
        collection[0].save(fields, remote=False)
    assert two.alice.sync().applied == 2
    for upstream, credential in ((two.people, "Bearer of people"), (two.billing, "Bearer of bills")):
        assert {one.headers.get("Authorization") for one in upstream.received} == {credential}


def test_nor_by_a_redirect_or_a_next_page(two: Two):
    two.people.then(answer(302, headers={"Location": f"{two.billing.url}/bills"}))
    with pytest.raises(Exception, match="302"):
        two.alice.collection("people").fetch()
    assert two.billing.received == []


def test_an_outage_of_one_is_not_the_others(two: Two):
    """Its breaker is open, and the other's pages and writes go on."""
    for name in ("people", "bills"):
        two.alice.collection(name).fetch()
    two.people.unplug()
    assert two.alice.collection("people").fetch().source == "cache"
    assert two.alice.collection("bills").fetch().source == "upstream"
    assert two.alice.collection("people").create(name="Turing").dirty
    assert not two.alice.collection("bills").create(sum=5).dirty


def test_a_flush_sends_to_the_one_that_answers(two: Two):
    two.alice.collection("people").create(name="Turing", remote=False)
    two.alice.collection("bills").create(sum=5, remote=False)
    two.people.unplug()
    report = two.alice.sync()
    assert (report.applied, report.queued, two.billing.find("/bills", 101)) == (1, 1, {"number": 101, "sum": 5})


def test_a_refused_credential_of_one_holds_nothing_of_the_other(two: Two):
    two.alice.collection("people").create(name="Turing", remote=False)
    two.alice.collection("bills").create(sum=5, remote=False)
    two.people.then(answer(401))
    report = two.alice.sync()
    assert (report.applied, report.queued) == (1, 1)


def test_a_retry_after_of_one_holds_nothing_of_the_other(two: Two):
    two.people.then(answer(503, headers={"Retry-After": "600"}))
    assert two.alice.collection("people").create(name="Turing").dirty
    assert not two.alice.collection("bills").create(sum=5).dirty


def test_each_has_its_own_deadline(two: Two):
    """What drips for longer than billing's 0.3 s is cut there."""
    two.billing.then(drip("body", every=0.05, content=[{"number": 7, "text": "x" * 1000}]))
    with pytest.raises(Exception, match=r"0\.3 s"):
        two.alice.collection("bills").fetch()


def test_each_has_its_own_cooldown(two: Two, clock: Clock):
    for name, upstream in (("people", two.people), ("bills", two.billing)):
        two.alice.collection(name).fetch()
        upstream.unplug()
        two.alice.collection(name).fetch()
        upstream.plug()
    clock.advance(6)
    assert two.alice.collection("people").fetch().source == "upstream"
    assert two.alice.collection("bills").fetch().source == "cache"


def test_each_has_its_own_dialect_and_key_header(two: Two):
    two.alice.collection("people").fetch().get(1).save(age=41)
    two.alice.collection("bills").fetch().get(7).save(sum=11)
    [person], [bill] = two.people.sent, two.billing.sent
    assert (person.method, bill.method, bill.target) == ("PUT", "PATCH", "/bills/7")
    assert ("Idempotency-Key" in person.headers, "X-Request-Id" in person.headers) == (True, False)
    assert ("Idempotency-Key" in bill.headers, "X-Request-Id" in bill.headers) == (False, True)
