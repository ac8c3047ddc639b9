"""``scope = "app"``: reference data that is the same for everybody is read once, and never written."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from flask_dualstorage import Collection, ConfigurationError, DualStorage
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.rest import RestUpstream
from tests.whole import MakeApp, storage_of


@pytest.fixture
def dualstorage(upstream: RestUpstream) -> DualStorage:
    upstream.records["/countries"] = [{"id": "fr", "name": "France"}, {"id": "jp", "name": "Japan"}]
    dualstorage = DualStorage()

    @dualstorage.register
    class Countries(Collection):
        scope = "app"
        max_age = 60

    return dualstorage


@pytest.fixture
def app(make_app: MakeApp, dualstorage: DualStorage, upstream: RestUpstream) -> Flask:
    return make_app(dualstorage, url=upstream.url)


def user(app: Flask, name: str) -> UserStorage:
    return storage_of(app).for_user(name)


def test_it_is_cached_once_for_all_users(app: Flask, upstream: RestUpstream):
    for name in ("alice", "bob", "carol"):
        assert user(app, name).collection("countries").pluck("name") == ["France", "Japan"]
    assert upstream.requests == [("GET", "/countries")]


def test_everybody_has_it_in_an_outage(app: Flask, upstream: RestUpstream):
    user(app, "alice").collection("countries").fetch()
    upstream.unplug()
    countries = user(app, "bob").collection("countries").fetch()
    assert (countries.source, len(countries)) == ("cache", 2)


def test_what_belongs_to_users_stays_theirs(app: Flask, upstream: RestUpstream):
    """Other collections of the same app have a copy for each user, and a user's name can not be the app's."""
    user(app, "alice").collection("people").fetch()
    user(app, "alice").collection("countries").fetch()
    upstream.unplug()
    for name in ("bob", "app:"):
        with pytest.raises(Exception, match="No copy"):
            user(app, name).collection("people").fetch()
    assert user(app, "app:").owner == "user:app:"


@pytest.mark.parametrize(
    "write",
    [
        lambda countries: countries.create(id="it", name="Italy"),
        lambda countries: countries.create({"id": "it"}, remote=False),
        lambda countries: countries.get("fr").save(name="Gaul"),
        lambda countries: countries.get("fr").destroy(),
        lambda countries: countries.new(name="Italy").save(),
    ],
)
def test_nobody_writes_it(app: Flask, upstream: RestUpstream, write: Any):
    countries = user(app, "alice").collection("countries").fetch()
    with pytest.raises(ConfigurationError, match="one copy for everybody"):
        write(countries)
    assert upstream.writes == []
    assert storage_of(app).owners() == []


class TestCredentials:
    def test_each_users_own_is_refused(self, app: Flask, dualstorage: DualStorage, upstream: RestUpstream):
        """One user's view would be everybody's."""
        dualstorage.upstream_auth(lambda owner, upstream: {"Authorization": owner})
        with pytest.raises(ConfigurationError, match="app_credential = True"):
            user(app, "alice").collection("countries")
        assert upstream.received == []

    def test_it_is_refused_when_the_app_starts(
        self, make_app: MakeApp, dualstorage: DualStorage, upstream: RestUpstream
    ):
        dualstorage.upstream_auth(lambda owner, upstream: {"Authorization": owner})
        with pytest.raises(ConfigurationError, match="app_credential = True"):
            make_app(dualstorage, url=upstream.url)

    def test_the_apps_own_is_asked_for_where_it_is_declared(
        self, app: Flask, dualstorage: DualStorage, upstream: RestUpstream
    ):
        dualstorage.registry.collections["countries"].app_credential = True
        dualstorage.upstream_auth(lambda owner, upstream: {"Authorization": owner})
        user(app, "alice").collection("countries").fetch()
        assert upstream.received[-1].headers["Authorization"] == "app:"

    @pytest.mark.parametrize(
        "read",
        [
            lambda countries, headers: countries.fetch(headers=headers),
            lambda countries, headers: countries.load("fr", headers=headers),
            lambda countries, headers: countries.fetch().get("fr").fetch(headers=headers),
        ],
    )
    def test_no_call_asks_with_its_own(self, app: Flask, upstream: RestUpstream, read: Any):
        countries = user(app, "alice").collection("countries")
        with pytest.raises(ConfigurationError, match="one copy for everybody"):
            read(countries, {"Authorization": "alice"})
        assert all("Authorization" not in one.headers for one in upstream.received)


@pytest.mark.parametrize(
    "declared",
    [
        {"scope": "everybody"},
        {"scope": None},
        {"scope": "app", "local": True},
        {"scope": "app", "headers": lambda self: {"X-User": "whoever asks first"}},
    ],
)
def test_a_wrong_declaration_is_refused(declared: dict[str, Any]):
    with pytest.raises(ConfigurationError, match="scope"):
        DualStorage().register(type("Wrong", (Collection,), declared))
