"""What a bad credential does: it holds its owner's queue, is told, and never passes for "nothing is there"."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from requests.auth import HTTPBasicAuth

from flask_dualstorage import DualStorage, UpstreamError
from flask_dualstorage.sync.flush import flush
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import Behaviour, Received, answer, drop
from tests.upstreams.rest import RestUpstream
from tests.whole import Clock, MakeApp, storage_of

GOOD = {"Authorization": "Bearer good"}
BAD = {"Authorization": "Bearer bad"}
HEADERS = {"X-User": "alice"}


class HidingUpstream(RestUpstream):
    """Shows nothing to who is not known: 200 and an empty list, 404 for a record, and 403 at ``/me`` alone."""

    def _answer(self, received: Received) -> Behaviour:
        known = received.headers.get("Authorization") == GOOD["Authorization"]
        if received.target == "/me":
            return answer(200, {"name": "alice"}) if known else answer(403, {"detail": "Who are you?"})
        if known:
            return super()._answer(received)
        return answer(200, []) if received.target.split("?")[0] == "/people" else answer(404)


@pytest.fixture
def upstream() -> Any:
    people = [{"id": 1, "name": "Ada", "age": 36}, {"id": 2, "name": "Grace", "age": 85}]
    with HidingUpstream({"/people": people}) as upstream:
        yield upstream


class Session:
    """Alice, whose credential may be good or bad."""

    def __init__(self, make_app: MakeApp, url: str, **config: Any) -> None:
        self.credential: Any = GOOD
        dualstorage = DualStorage()
        dualstorage.upstream_auth(lambda owner, upstream: self.credential)
        self.app = make_app(dualstorage, url=url, DUALSTORAGE_CREDENTIAL_PROBE="/me", **config)
        self.engine = storage_of(self.app).engine
        self.alice: UserStorage = storage_of(self.app).for_user("alice")


@pytest.fixture
def session(make_app: MakeApp, upstream: RestUpstream) -> Session:
    return Session(make_app, upstream.url)


class TestAnAnswerThatHides:
    def test_an_empty_list_never_replaces_a_copy(self, session: Session):
        """It is a 401, as from an upstream that says so; the copy is there again with a good credential."""
        assert len(session.alice.collection("people").fetch()) == 2
        session.credential = BAD
        with pytest.raises(UpstreamError) as raised:
            session.alice.collection("people").fetch()
        assert raised.value.status == 401
        assert "does not know the credential" in str(raised.value.problem)
        session.credential = GOOD
        people = session.alice.collection("people").fetch(max_age=60)
        assert (people.source, len(people)) == ("cache", 2)

    def test_nor_is_it_the_first_that_is_kept(self, session: Session):
        session.credential = BAD
        with pytest.raises(UpstreamError):
            session.alice.collection("people").fetch()

    def test_a_list_that_is_empty_indeed_is(self, session: Session, upstream: RestUpstream):
        session.alice.collection("people").fetch()
        upstream.records["/people"].clear()
        assert len(session.alice.collection("people").fetch()) == 0

    def test_a_404_is_no_delete_that_was_done(self, session: Session, upstream: RestUpstream):
        people = session.alice.collection("people").fetch()
        people.get(1).destroy(remote=False)
        session.credential = BAD
        assert session.alice.sync().queued == 1
        assert "credential" in (session.alice.pending()[0].reason or "")
        session.credential = GOOD
        assert session.alice.sync().applied == 1
        assert upstream.find("/people", 1) is None

    def test_a_404_is_no_record_that_was_deleted_upstream(self, session: Session):
        people = session.alice.collection("people").fetch()
        people.get(1).save(age=37, remote=False)
        session.credential = BAD
        assert (session.alice.sync().conflict, session.alice.sync().queued) == (0, 1)

    def test_a_record_that_is_hidden_is_not_gone(self, session: Session):
        session.alice.collection("people").load(1)
        session.credential = BAD
        with pytest.raises(UpstreamError) as raised:
            session.alice.collection("people").load(1)
        assert raised.value.status == 401

    def test_a_create_in_doubt_is_not_taken_for_not_made(self, session: Session, upstream: RestUpstream, clock: Clock):
        """The list that is looked through is empty to a bad credential: that says nothing."""
        upstream.then(drop())
        session.alice.collection("people").create(name="Turing")
        session.credential = BAD
        clock.advance(3600)
        sent = len(upstream.sent)
        assert session.alice.sync().in_doubt == 1
        assert len(upstream.sent) == sent

    @pytest.mark.parametrize("lost", [answer(503), drop()], ids=["503", "no answer"])
    def test_where_the_probe_is_not_answered_the_copy_is_shown(
        self, session: Session, upstream: RestUpstream, lost: Behaviour
    ):
        session.alice.collection("people").fetch()
        upstream.then(answer(200, []), lost)
        people = session.alice.collection("people").fetch()
        assert (people.source, len(people)) == ("cache", 2)

    def test_where_the_probe_fails_so_does_the_read_and_the_copy_stays(self, session: Session, upstream: RestUpstream):
        session.alice.collection("people").fetch()
        upstream.then(answer(200, []), answer(500))
        with pytest.raises(UpstreamError):
            session.alice.collection("people").fetch()
        assert len(session.alice.collection("people").fetch(max_age=60)) == 2

    def test_it_is_asked_with_the_collections_headers(self, session: Session, upstream: RestUpstream):
        """A tenant's name, say; without what belongs to the one request alone."""
        upstream.records["/people"].clear()
        people = session.alice.collection("people")
        people.fetch(headers={"X-Tenant": "blue", "If-None-Match": '"1"'})
        assert upstream.received[-1].target == "/me"
        assert upstream.received[-1].headers.get("X-Tenant") == "blue"
        assert "If-None-Match" not in upstream.received[-1].headers

    def test_it_is_asked_only_of_what_looks_empty(self, session: Session, upstream: RestUpstream):
        people = session.alice.collection("people").fetch()
        people.get(1).save(age=37)
        assert ("GET", "/me") not in upstream.requests


class TestARefusedCredential:
    def test_holds_the_queue_of_its_owner_alone(self, session: Session, upstream: RestUpstream):
        """Alice's 401 is not Bob's."""
        bob = storage_of(session.app).for_user("bob")
        for owner in (session.alice, bob):
            owner.collection("people").create(name=owner.owner, remote=False)
        upstream.then(answer(401))
        assert session.alice.sync().queued == 1
        assert bob.sync().applied == 1

    def test_no_worker_tries_it_again_for_a_minute(self, make_app: MakeApp, upstream: RestUpstream, clock: Clock):
        """Asking over and over could lock the account; a person who asks is not held."""
        session = Session(make_app, upstream.url, DUALSTORAGE_SYNC_CONCURRENCY=1)
        for name in ("Turing", "Hopper", "Lovelace"):
            session.alice.collection("people").create(name=name, remote=False)
        upstream.then(answer(401))
        session.alice.sync()
        sent = len(upstream.sent)
        assert flush(session.engine, "user:alice", explicit=False).queued == 3
        assert len(upstream.sent) == sent
        clock.advance(61)
        session.credential = GOOD
        assert flush(session.engine, "user:alice", explicit=False).applied == 3

    def test_the_pages_say_so(self, make_app: MakeApp, upstream: RestUpstream):
        session = Session(make_app, upstream.url)
        session.alice.collection("people").create(name="Turing", remote=False)
        upstream.then(answer(401))
        client = session.app.test_client()
        page = client.post(
            "/dualstorage/sync", headers={**HEADERS, "Accept": "text/html"}, data={"next": "/dualstorage/"}
        )
        page = client.get(page.location, headers=HEADERS)
        assert "1 change waits until you sign in again" in page.text
        assert "Sign in again, then send: nothing of this is lost" in page.text
        [write] = client.get("/dualstorage/", headers={**HEADERS, "Accept": "application/json"}).json["writes"]
        assert write["unauthorized"] is True


def test_a_requests_auth_object_signs_what_it_is_given(make_app: MakeApp, upstream: RestUpstream):
    session = Session(make_app, upstream.url)
    session.credential = HTTPBasicAuth("alice", "sésame")
    upstream.then(answer(200, [{"id": 1}]))
    session.alice.collection("people").fetch()
    expected = "Basic " + base64.b64encode("alice:sésame".encode("latin-1")).decode()
    assert upstream.received[-1].headers["Authorization"] == expected
