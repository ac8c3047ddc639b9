"""What Kinto and Django REST framework do with a request, seen past the package: what the dialects rely on.

A new version that speaks otherwise is noticed here first. json-server's ways are in ``test_json_server.py``.
"""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import requests

from tests.upstreams import drf, kinto
from tests.upstreams.drf import Drf
from tests.upstreams.kinto import Kinto

MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}


class TestKinto:
    @pytest.fixture
    def ask(self, a_kinto: tuple[Kinto, str]) -> Any:
        """``ask("POST", "/people/records", json={"data": {…}})``, as Alice."""
        _, url = a_kinto

        def ask(method: str, path: str, password: str = kinto.ACCOUNTS["alice"], **options: Any) -> requests.Response:
            return requests.request(method, url + path, auth=("alice", password), timeout=10, **options)

        return ask

    def test_records_are_in_envelopes_and_have_a_version(self, ask: Any):
        created = ask("POST", "/people/records", json={"data": {"name": "Ada"}})
        assert (created.status_code, created.json()["data"]["name"]) == (201, "Ada")
        version = created.json()["data"]["last_modified"]
        assert created.headers["ETag"] == f'"{version}"'
        assert ask("GET", "/people/records").json() == {"data": [created.json()["data"]]}

    def test_creating_an_id_that_is_there_is_a_200_that_changes_nothing(self, ask: Any):
        mine = {"id": str(uuid.uuid4()), "name": "Ada"}
        assert ask("POST", "/people/records", json={"data": mine}).status_code == 201
        again = ask("POST", "/people/records", json={"data": mine | {"name": "Turing"}})
        assert (again.status_code, again.json()["data"]["name"]) == (200, "Ada")

    def test_a_put_creates_and_if_none_match_says_what_is_there(self, ask: Any):
        path = f"/people/records/{uuid.uuid4()}"
        only_new = {"If-None-Match": "*"}
        assert ask("PUT", path, json={"data": {"name": "Ada"}}, headers=only_new).status_code == 201
        again = ask("PUT", path, json={"data": {"name": "Turing"}}, headers=only_new)
        assert (again.status_code, again.json()["details"]["existing"]["name"]) == (412, "Ada")

    def test_a_stale_version_is_a_412(self, ask: Any):
        path = f"/people/records/{uuid.uuid4()}"
        first = ask("PUT", path, json={"data": {"name": "Ada"}}).headers["ETag"]
        second = ask("PATCH", path, json={"data": {"age": 36}}, headers={"If-Match": first})
        assert (second.status_code, second.json()["data"]["name"]) == (200, "Ada")
        stale = ask("PUT", path, json={"data": {"name": "Turing"}}, headers={"If-Match": first})
        assert (stale.status_code, stale.json()["details"]["existing"]["age"]) == (412, 36)
        assert ask("DELETE", path, headers={"If-Match": first}).status_code == 412

    def test_an_update_answers_with_the_new_version(self, ask: Any):
        path = f"/people/records/{uuid.uuid4()}"
        ask("PUT", path, json={"data": {"name": "Ada"}})
        answer = ask("PUT", path, json={"data": {"name": "Turing"}})
        assert answer.headers["ETag"] == f'"{answer.json()["data"]["last_modified"]}"'
        assert answer.headers["ETag"] == ask("GET", path).headers["ETag"]

    def test_an_unchanged_list_or_record_is_a_304(self, ask: Any):
        path = f"/people/records/{uuid.uuid4()}"
        ask("PUT", path, json={"data": {"name": "Ada"}})
        for read in (path, "/people/records"):
            version = ask("GET", read).headers["ETag"]
            assert ask("GET", read, headers={"If-None-Match": version}).status_code == 304

    def test_pages_are_linked_by_an_absolute_url_in_a_header(self, ask: Any):
        """Latest change first, unless it is asked otherwise."""
        for number in range(kinto.PAGE + 1):
            ask("POST", "/people/records", json={"data": {"name": f"{number}"}})
        first = ask("GET", "/people/records")
        assert [each["name"] for each in first.json()["data"]] == ["3", "2", "1"]
        rest = requests.get(first.headers["Next-Page"], auth=("alice", kinto.ACCOUNTS["alice"]), timeout=10)
        assert [each["name"] for each in rest.json()["data"]] == ["0"]
        assert "Next-Page" not in rest.headers

    def test_a_delete_leaves_a_tombstone_and_a_second_is_a_404(self, ask: Any):
        path = f"/people/records/{uuid.uuid4()}"
        ask("PUT", path, json={"data": {"name": "Ada"}})
        first = ask("DELETE", path)
        assert (first.status_code, first.json()["data"]["deleted"]) == (200, True)
        assert ask("DELETE", path).status_code == ask("GET", path).status_code == 404

    def test_a_bad_credential_is_a_401(self, ask: Any):
        assert ask("GET", "/people/records", password="wrong").status_code == 401

    def test_without_its_database_it_answers_503_with_retry_after(self, ask: Any, a_kinto: tuple[Kinto, str]):
        server, _ = a_kinto
        server.lose_database()
        answer = ask("GET", "/people/records")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "3")
        server.find_database()
        assert ask("GET", "/people/records").json() == {"data": []}

    def test_what_it_has_it_has_after_a_kill(self, ask: Any, a_kinto: tuple[Kinto, str]):
        server, _ = a_kinto
        ask("POST", "/people/records", json={"data": {"name": "Ada"}})
        server.kill()
        server.start()
        assert [each["name"] for each in ask("GET", "/people/records").json()["data"]] == ["Ada"]

    def test_refusals_name_the_fields_in_details(self, ask: Any):
        answer = ask("POST", "/people/records", json={"dat": {}})
        assert (answer.status_code, answer.json()["errno"]) == (400, 107)
        assert answer.json()["details"][0].keys() == {"location", "name", "description"}


class TestDrf:
    @pytest.fixture
    def ask(self, a_drf: Drf) -> Any:
        """``ask("POST", "/people/", json={…})``, as Alice."""

        def ask(method: str, path: str, token: str = drf.TOKENS["alice"], **options: Any) -> requests.Response:
            headers = {"Authorization": f"Token {token}", **options.pop("headers", {})}
            return requests.request(method, a_drf.api + path, headers=headers, timeout=10, **options)

        return ask

    def test_it_numbers_what_is_created_and_gives_no_version(self, ask: Any):
        created = ask("POST", "/people/", json={"name": "Ada"})
        assert (created.status_code, created.json()["id"], created.headers.get("ETag")) == (201, 1, None)

    def test_an_unchanged_list_is_a_304(self, ask: Any):
        first = ask("GET", "/people/")
        assert ask("GET", "/people/", headers={"If-None-Match": first.headers["ETag"]}).status_code == 304

    def test_if_match_is_not_looked_at(self, ask: Any):
        """Though the ETag that it gives for a record is a strong one."""
        ask("POST", "/people/", json={"name": "Ada"})
        assert ask("GET", "/people/1/").headers["ETag"].startswith('"')
        assert ask("PATCH", "/people/1/", json={"city": "London"}, headers={"If-Match": '"no"'}).status_code == 200

    def test_a_put_wants_all_fields_and_a_merge_patch_is_a_415(self, ask: Any):
        ask("POST", "/people/", json={"name": "Ada", "city": "London"})
        refused = ask("PUT", "/people/1/", json={"city": "Paris"})
        assert (refused.status_code, refused.json()) == (400, {"name": ["This field is required."]})
        assert ask("PATCH", "/people/1/", data=b'{"city": "Paris"}', headers=MERGE_PATCH).status_code == 415
        assert ask("PATCH", "/people/1/", json={"city": "Paris"}).json()["name"] == "Ada"

    @pytest.mark.parametrize("path", ["/people/", "/people-by-offset/", "/people-by-cursor/"])
    def test_pages_are_linked_by_an_absolute_url_in_the_body(self, ask: Any, path: str):
        for number in range(drf.PAGE + 1):
            ask("POST", path, json={"name": f"{number}"})
        first = ask("GET", path).json()
        assert ("count" in first) == (path != "/people-by-cursor/")
        rest = requests.get(first["next"], headers={"Authorization": f"Token {drf.TOKENS['alice']}"}, timeout=10).json()
        assert [each["name"] for each in first["results"] + rest["results"]] == ["0", "1", "2", "3"]
        assert rest["next"] is None

    def test_a_delete_is_a_204_and_a_second_a_404(self, ask: Any):
        ask("POST", "/people/", json={"name": "Ada"})
        assert [ask("DELETE", "/people/1/").status_code for _ in range(2)] == [204, 404]

    def test_a_write_without_the_slash_is_lost(self, ask: Any):
        """By a 301: whoever follows it asks for the list, and takes that for a success."""
        answer = ask("POST", "/people", json={"name": "Ada"})
        assert (answer.history[0].status_code, answer.status_code) == (301, 200)
        assert ask("GET", "/people/").json()["count"] == 0

    def test_the_clients_uuid_is_taken_once(self, ask: Any):
        mine = {"id": str(uuid.uuid4()), "name": "Difference engine"}
        first, again = ask("POST", "/gadgets/", json=mine), ask("POST", "/gadgets/", json=mine)
        assert (first.status_code, first.json(), again.status_code) == (201, mine, 400)
        assert again.json() == {"id": ["gadget with this id already exists."]}

    def test_a_fourth_request_within_the_minute_is_a_429_with_retry_after(self, ask: Any, a_drf: Drf):
        a_drf.kill()
        a_drf.start()
        statuses = [ask("GET", "/throttled-people/").status_code for _ in range(drf.THROTTLE + 1)]
        assert statuses == [200, 200, 200, 429]
        assert int(ask("GET", "/throttled-people/").headers["Retry-After"]) in range(1, 61)

    def test_a_bad_credential_is_a_401(self, ask: Any):
        assert ask("GET", "/people/", token="wrong").status_code == 401

    def test_what_it_has_it_has_after_a_kill(self, ask: Any, a_drf: Drf):
        ask("POST", "/people/", json={"name": "Ada"})
        a_drf.kill()
        a_drf.start()
        assert ask("GET", "/people/").json()["count"] == 1
