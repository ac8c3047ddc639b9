"""What the example's upstream promises: the API by its app, the plug and the process by a real one."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from example_app.upstream import start_upstream
from example_app.upstream_api import Faults, create_api
from tests.needs import free_port
from tests.waiting import until

# Longer than any test takes: a test that waits it out fails.
FOREVER = 300


@pytest.fixture
def api(tmp_path: Path) -> FlaskClient:
    return create_api(tmp_path / "people.sqlite", Faults()).test_client()


def names(api: FlaskClient) -> list[str]:
    return [person["name"] for person in api.get("/people").json]


class TestRecords:
    def test_starts_with_a_dozen_people_and_their_notes(self, api: FlaskClient) -> None:
        assert len(names(api)) == 12
        assert api.get("/people/1").json["name"] == "Ada Lovelace"
        assert [note["person_id"] for note in api.get("/people/1/notes").json] == [1, 1]

    def test_a_restart_brings_nothing_back(self, api: FlaskClient, tmp_path: Path) -> None:
        assert api.delete("/people/1").status_code == 204
        again = create_api(tmp_path / "people.sqlite", Faults()).test_client()
        assert len(names(again)) == 11

    def test_create_answers_201_with_the_record_and_where_it_is(self, api: FlaskClient) -> None:
        made = api.post("/people", json={"name": "Kathleen Booth", "city": "London"})
        assert made.status_code == 201
        assert made.json["id"] == 13
        assert made.json["email"] == ""
        assert api.get(made.headers["Location"]).json == made.json

    def test_put_replaces_and_patch_merges(self, api: FlaskClient) -> None:
        patched = api.patch("/people/1", json={"city": "Ockham"}).json
        assert (patched["name"], patched["city"], patched["role"]) == ("Ada Lovelace", "Ockham", "Analyst")
        put = api.put("/people/1", json={"name": "Ada King"}).json
        assert (put["name"], put["city"], put["role"]) == ("Ada King", "", "")

    def test_a_record_may_come_back_as_it_was_read(self, api: FlaskClient) -> None:
        read = api.get("/people/1/notes/1").json
        assert api.put("/people/1/notes/1", json=read).json == read

    def test_deleting_a_person_deletes_the_notes(self, api: FlaskClient) -> None:
        assert api.delete("/people/1").status_code == 204
        assert api.get("/people/1/notes").status_code == 404
        assert api.get("/people/1/notes/1").status_code == 404

    def test_notes_belong_to_their_person(self, api: FlaskClient) -> None:
        note = api.post("/people/7/notes", json={"text": "Abstraction."}).json
        assert api.get(f"/people/7/notes/{note['id']}").status_code == 200
        assert api.get(f"/people/8/notes/{note['id']}").status_code == 404
        assert api.post("/people/99/notes", json={"text": "To nobody."}).status_code == 404


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"email": "a@b.example"}, "name"),
            ({"name": "  "}, "name"),
            ({"name": None}, "name"),
            ({"name": "A", "email": "nowhere"}, "email"),
            ({"name": "A", "email": ["a@b.example"]}, "email"),
            ({"name": "A", "phone": 0}, "phone"),
            ({"name": "A", "city": "\ud800"}, "city"),
            ({"name": "A", "role": "x" * 10_001}, "role"),
            ({"name": "A", "age": "41"}, "age"),
            (["A"], ""),
        ],
    )
    def test_a_wrong_field_is_named_in_a_problem(self, api: FlaskClient, body: Any, field: str) -> None:
        answer = api.post("/people", json=body)
        assert (answer.status_code, answer.mimetype) == (422, "application/problem+json")
        assert list(answer.json["errors"]) == [field]
        assert len(names(api)) == 12

    @pytest.mark.parametrize(
        ("path", "status"),
        [("/people/99", 404), ("/people/99999999999999999999", 404), ("/people/one", 404), ("/nothing", 404)],
    )
    def test_what_is_not_there_is_a_404_problem(self, api: FlaskClient, path: str, status: int) -> None:
        answer = api.get(path)
        assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")

    def test_a_method_that_is_not_is_a_405_that_says_which_are(self, api: FlaskClient) -> None:
        answer = api.patch("/people", json={})
        assert answer.status_code == 405
        assert "POST" in answer.headers["Allow"]

    def test_what_is_not_json_is_refused(self, api: FlaskClient) -> None:
        assert api.post("/people", data="{", content_type="application/json").status_code == 400
        assert api.post("/people", data={"name": "A"}).status_code == 415
        assert api.post("/people", json={"name": "A" * 2_000_000}).status_code == 413


class TestVersions:
    @pytest.mark.parametrize("path", ["/people", "/people/1", "/people/1/notes"])
    def test_what_did_not_change_is_a_304(self, api: FlaskClient, path: str) -> None:
        etag = api.get(path).headers["ETag"]
        again = api.get(path, headers={"If-None-Match": etag})
        assert (again.status_code, again.data) == (304, b"")
        assert not etag.startswith("W/")

    @pytest.mark.parametrize("path", ["/people", "/people/1"])
    def test_what_changed_has_another_etag(self, api: FlaskClient, path: str) -> None:
        etag = api.get(path).headers["ETag"]
        api.patch("/people/1", json={"city": "Ockham"})
        assert api.get(path, headers={"If-None-Match": etag}).status_code == 200

    @pytest.mark.parametrize(("method", "done"), [("PUT", 200), ("PATCH", 200), ("DELETE", 204)])
    def test_a_write_meant_for_another_version_is_a_412(self, api: FlaskClient, method: str, done: int) -> None:
        old = api.get("/people/1").headers["ETag"]
        new = api.patch("/people/1", json={"city": "Ockham"}).headers["ETag"]
        assert old != new
        body = {"name": "Ada King"}
        assert api.open("/people/1", method=method, json=body, headers={"If-Match": old}).status_code == 412
        assert api.get("/people/1").json["name"] == "Ada Lovelace"
        assert api.open("/people/1", method=method, json=body, headers={"If-Match": new}).status_code == done


class TestIdempotencyKeys:
    @pytest.mark.parametrize(
        ("method", "path"),
        [("POST", "/people"), ("PUT", "/people/1"), ("PATCH", "/people/1"), ("DELETE", "/people/1")],
    )
    def test_a_repeated_key_gets_the_first_answer_and_does_nothing(
        self, api: FlaskClient, method: str, path: str
    ) -> None:
        request = {"method": method, "json": {"name": "Ada King"}, "headers": {"Idempotency-Key": "k"}}
        first = api.open(path, **request)
        before = api.get("/people").headers["ETag"]
        second = api.open(path, **request)
        assert second.headers["Idempotent-Replayed"] == "true"
        assert "Idempotent-Replayed" not in first.headers
        assert (second.status_code, second.data) == (first.status_code, first.data)
        for header in ("ETag", "Location", "Content-Type"):
            assert second.headers.get(header) == first.headers.get(header)
        assert api.get("/people").headers["ETag"] == before

    def test_a_refusal_is_an_answer_too(self, api: FlaskClient) -> None:
        request = {"json": {"name": ""}, "headers": {"Idempotency-Key": "k"}}
        assert api.post("/people", **request).status_code == 422
        again = api.post("/people", **request)
        assert (again.status_code, again.headers["Idempotent-Replayed"]) == (422, "true")

    def test_a_key_with_another_body_is_a_422(self, api: FlaskClient) -> None:
        key = {"Idempotency-Key": "k"}
        assert api.post("/people", json={"name": "A"}, headers=key).status_code == 201
        assert api.post("/people", json={"name": "B"}, headers=key).status_code == 422
        assert names(api)[12:] == ["A"]

    def test_one_key_at_the_same_time_is_applied_once(self, api: FlaskClient) -> None:
        def post(_: int) -> int:
            client = api.application.test_client()
            return client.post("/people", json={"name": "A"}, headers={"Idempotency-Key": "k"}).json["id"]

        with ThreadPoolExecutor(8) as threads:
            assert set(threads.map(post, range(16))) == {13}
        assert len(names(api)) == 13


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Running:
    """A started upstream."""

    process: subprocess.Popen[str]
    people: str
    plug: str

    def turn(self, **wish: Any) -> requests.Response:
        return requests.post(self.plug, json=wish, timeout=FOREVER)


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Running]:
    port, control_port = free_port(), free_port()
    with start_upstream(port, control_port, tmp_path / "people.sqlite") as process:
        yield Running(process, f"http://127.0.0.1:{port}/people", f"http://127.0.0.1:{control_port}/plug")


class TestThePlug:
    def test_out_is_out_of_reach_and_in_is_back(self, upstream: Running) -> None:
        assert requests.get(upstream.plug, timeout=FOREVER).json() == {"state": "in", "latency": 0, "hang": 0}
        for _ in range(2):
            assert requests.get(upstream.people, timeout=FOREVER).ok
            assert upstream.turn(state="out").json()["state"] == "out"
            with pytest.raises(requests.ConnectionError, match="refused"):
                requests.get(upstream.people, timeout=FOREVER)
            assert upstream.turn(state="in").json()["state"] == "in"

    def test_pulling_it_cuts_off_who_waits_for_an_answer(self, upstream: Running) -> None:
        upstream.turn(hang=FOREVER)
        with ThreadPoolExecutor() as threads:
            waiting = threads.submit(requests.post, upstream.people, json={"name": "A"}, timeout=FOREVER)
            until(lambda: len(requests.get(upstream.people, timeout=FOREVER).json()) == 13, "the write")
            assert not waiting.done()
            upstream.turn(state="out")
            assert isinstance(waiting.exception(), requests.ConnectionError)

    def test_latency_holds_up_every_answer(self, upstream: Running) -> None:
        upstream.turn(latency=FOREVER)
        with pytest.raises(requests.ReadTimeout):
            requests.get(upstream.people, timeout=0.2)
        upstream.turn(latency=0)
        assert requests.get(upstream.people, timeout=FOREVER).ok

    @pytest.mark.parametrize(
        "wish", [{"state": "up"}, {"latency": -1}, {"hang": "long"}, {"hang": True}, {"hang": 601}, {"x": 1}]
    )
    def test_takes_nothing_else(self, upstream: Running, wish: dict[str, Any]) -> None:
        assert requests.post(upstream.plug, json=wish, timeout=FOREVER).status_code == 422


class TestTheProcess:
    def test_keeps_what_it_acknowledged_through_a_kill(self, tmp_path: Path) -> None:
        port, control_port, database = free_port(), free_port(), tmp_path / "people.sqlite"
        with start_upstream(port, control_port, database) as process:
            requests.post(f"http://127.0.0.1:{port}/people", json={"name": "A"}, timeout=FOREVER)
            process.kill()
        with start_upstream(port, control_port, database):
            assert requests.get(f"http://127.0.0.1:{port}/people", timeout=FOREVER).json()[-1]["name"] == "A"

    def test_ends_when_asked(self, upstream: Running) -> None:
        upstream.process.terminate()
        assert upstream.process.wait(FOREVER) == 0

    def test_ends_with_the_process_that_started_it_however_that_dies(self, tmp_path: Path) -> None:
        port, control_port = free_port(), free_port()
        starts = "import sys, pathlib, example_app.upstream as u; p = u.start_upstream"
        starts += "(int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])); print(p.pid, flush=True); input()"
        argv = [sys.executable, "-c", starts, str(port), str(control_port), str(tmp_path / "people.sqlite")]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout
            assert int(parent.stdout.readline()) != parent.pid
            assert listens(port)
            os.kill(parent.pid, signal.SIGKILL)
        until(lambda: not listens(port), "the upstream's end")

    def test_says_when_its_port_is_taken(self, upstream: Running, tmp_path: Path, capfd: Any) -> None:
        port = int(upstream.plug.split(":")[2].split("/")[0])
        with pytest.raises(RuntimeError, match=f"port {port} did not start"):
            start_upstream(port, free_port(), tmp_path / "other.sqlite")
        assert f"Port {port} is in use" in capfd.readouterr().err
