"""The pages of APIs that others wrote: Kinto, Django REST framework with each of its paginators, json-server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flask_dualstorage import Collection, Dialect, DualStorage, LinkPages, dialects
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams import drf, kinto
from tests.upstreams.drf import Drf
from tests.upstreams.json_server import JsonServer
from tests.upstreams.kinto import Kinto
from tests.whole import MakeApp, storage_of


def storage(make_app: MakeApp, url: str, path: str, speaks: Dialect, auth: Any = None) -> UserStorage:
    """An owner of an app that shows the people at ``path``."""
    dualstorage = DualStorage()
    dualstorage.upstream_auth(lambda owner, upstream: auth)

    @dualstorage.register
    class People(Collection):
        dialect = speaks

    People.url = path
    return storage_of(make_app(dualstorage, url=url)).for_user("alice")


def walked(people: Collection, name: str = "name") -> list[Any]:
    """Go from page to page as a reader does; gives what was seen."""
    people.fetch()
    seen = people.pluck(name)
    while people.page.has_next:
        people.fetch(params=people.page.next_params)
        seen += people.pluck(name)
    return seen


def test_kinto(make_app: MakeApp, a_kinto: tuple[Kinto, str]):
    """Every page, by the tokens that Kinto gives; in an outage the same."""
    server, url = a_kinto
    alice = storage(make_app, url, "/people/records", dialects.kinto, ("alice", kinto.ACCOUNTS["alice"]))
    people = alice.collection("people")
    for number in range(8):
        people.create(name=f"{number}")
    people.fetch(params={"_sort": "name"}, all_pages=True)
    assert (people.pluck("name"), people.page.complete) == ([f"{number}" for number in range(8)], True)
    assert sorted(walked(people)) == people.fetch(params={"_sort": "name"}, all_pages=True).pluck("name")
    server.lose_database()
    assert people.fetch(params={"_sort": "name"}, all_pages=True, max_age=0).source == "cache"
    assert len(people) == 8


@pytest.mark.parametrize("path", ["/people", "/people-by-offset", "/people-by-cursor"])
def test_django_rest_framework(make_app: MakeApp, a_drf: Drf, path: str):
    for number in range(2 * drf.PAGE + 1):
        a_drf.ask("POST", "/people/", json={"name": f"{number}", "email": f"{number}@example.org"})
    auth = {"Authorization": f"Token {drf.TOKENS['alice']}"}
    people = storage(make_app, a_drf.api, path, dialects.drf, auth).collection("people")
    expected = [f"{number}" for number in range(2 * drf.PAGE + 1)]
    assert people.fetch(all_pages=True).pluck("name") == expected
    assert walked(people) == expected
    assert (people.page.has_next, people.page.has_prev) == (False, True)
    if path == "/people":
        assert (people.page.page, people.page.pages, people.page.total) == (3, 3, 7)


def test_json_server(make_app: MakeApp, start_json_server: Callable[[Any], JsonServer]):
    """It cuts a list where a size is asked for."""
    people = [{"id": number, "name": f"{number}"} for number in range(1, 26)]
    expected = [f"{number}" for number in range(1, 26)]
    in_tens = LinkPages(page="_page", per_page="_limit", total_header="X-Total-Count", size=10)
    server = start_json_server({"people": people})
    alice = storage(make_app, server.url, "/people", dialects.json_server)
    assert alice.collection("people").fetch(all_pages=True).pluck("name") == expected
    alice = storage(make_app, server.url, "/people", dialects.json_server.but(pages=in_tens))
    shown = alice.collection("people").fetch()
    assert (shown.page.pages, shown.page.total, len(shown)) == (3, 25, 10)
    assert shown.fetch(all_pages=True).pluck("name") == walked(shown) == expected
