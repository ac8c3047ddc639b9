"""What nobody holds any more is gone at once: a page that showed 5,000 records leaves nothing to be collected."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from flask_dualstorage import Collection, DualStorage, Model
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.rest import RestUpstream
from tests.whole import MakeApp, storage_of


class Person(Model):
    def parse(self, response: Any) -> Any:
        return response

    def to_json(self, **options: Any) -> Any:
        return dict(self)


class People(Collection):
    """With every hook there is: each is a way back from what the layers below hold."""

    model = Person
    url = "/people"

    def headers(self) -> dict[str, str]:
        return {}

    def parse(self, response: Any) -> Any:
        return response

    def matches(self, record: Any, params: Any) -> bool:
        return True

    def sort_key(self, record: Any, params: Any) -> Any:
        return record["id"]

    def conflict(self, base: Any, mine: Any, theirs: Any) -> Any:
        return mine


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Tenants(Collection):
    url = "/{tenant}"
    region = "none"

    def headers(self) -> dict[str, str]:
        return {"X-Tenant": f"{self.params['tenant']} of {self.region}"}


@pytest.fixture
def alice(make_app: MakeApp, upstream: RestUpstream) -> UserStorage:
    dualstorage = DualStorage()
    dualstorage.register(People)
    dualstorage.register(Tenants)
    return storage_of(make_app(dualstorage, url=upstream.url)).for_user("alice")


@pytest.mark.parametrize("name", ["people", "plain"])
def test_a_list_that_was_looked_at_is_gone_with_its_collection(
    name: str, alice: UserStorage, upstream: RestUpstream
) -> None:
    upstream.records["/plain"] = upstream.records["/people"]
    people = alice.collection(name).fetch()
    ada = people[0]
    ada.set(name="Lady Ada")
    assert [person["name"] for person in people] == ["Lady Ada", "Grace"]
    gone = [weakref.ref(people), weakref.ref(ada)]
    del people, ada
    assert [each() for each in gone] == [None, None]


def test_a_model_that_outlives_its_collection_is_saved_as_that_declares(
    alice: UserStorage, upstream: RestUpstream
) -> None:
    tenants = alice.collection("tenants", tenant="people")
    tenants.region = "the north"
    ada = tenants.fetch()[0]
    del tenants
    assert ada.save(name="Lady Ada").dirty is False
    sent = upstream.received[-1]
    assert (sent.method, sent.target, sent.headers["X-Tenant"]) == ("PUT", "/people/1", "people of the north")
    assert ada["name"] == "Lady Ada"


def test_what_is_changed_in_place_is_seen_after_a_save_that_left_nothing(
    alice: UserStorage, upstream: RestUpstream
) -> None:
    upstream.records["/people"][0]["tags"] = ["a"]
    ada = alice.collection("people").fetch()[0]
    ada.save(name="Lady Ada", remote=False)
    assert ada.save(name="Ada", remote=False).state is None
    ada["tags"].append("b")
    assert ada.changed_attributes() == {"tags": ["a", "b"]}


def test_what_to_json_does_in_place_is_done_to_what_is_sent_alone(make_app: MakeApp, upstream: RestUpstream) -> None:
    class Marked(Model):
        def to_json(self, **options: Any) -> Any:
            sent = dict(self)
            sent["tags"].append("sent")
            return sent

    dualstorage = DualStorage()
    dualstorage.register(type("People", (Collection,), {"model": Marked}))
    alice = storage_of(make_app(dualstorage, url=upstream.url)).for_user("alice")
    eve = alice.collection("people").create(name="Eve", tags=["a"], remote=False)
    [waiting] = alice.pending()
    assert waiting.attributes is not None
    assert waiting.attributes["tags"] == ["a"]
    alice.sync()
    assert upstream.sent[-1].json()["tags"] == ["a", "sent"]
    assert eve["tags"] == ["a"]
