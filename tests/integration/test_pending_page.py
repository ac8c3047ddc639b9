"""The pages on which an owner sees what waits and decides over it, as a browser without scripts uses them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask_babel import Babel

from flask_dualstorage import Collection, DualStorage, Model
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream
from tests.whole import MakeApp, storage_of

ADA = {
    "id": 1,
    "name": "Ada",
    "age": 36,
    "member": True,
    "bio": "one\r\ntwo",
    "tags": ["a"],
    "address": {"city": "London", "zip": "N1"},
}
BROWSER = {"X-User": "alice", "Accept": "text/html,*/*;q=0.8"}


class Person(Model):
    def validate(self, attributes: dict[str, Any]) -> Any:
        return {"age": "is negative"} if (attributes.get("age") or 0) < 0 else None


@pytest.fixture
def upstream() -> Iterator[RestUpstream]:
    with RestUpstream({"/people": [dict(ADA)]}, etags=True) as upstream:
        yield upstream


@pytest.fixture
def app(make_app: MakeApp, upstream: RestUpstream) -> Flask:
    dualstorage = DualStorage()
    dualstorage.register(type("People", (Collection,), {"model": Person}))
    dualstorage.register(type("Notes", (Collection,), {"url": "/people/{person_id}/notes"}))
    return make_app(dualstorage, url=upstream.url)


@pytest.fixture
def client(app: Flask) -> Any:
    return app.test_client()


@pytest.fixture
def alice(app: Flask) -> UserStorage:
    return storage_of(app).for_user("alice")


def load(storage: UserStorage) -> Model:
    found = storage.collection("people").load(1)
    assert found is not None
    return found


def held(upstream: RestUpstream) -> Any:
    return upstream.find("/people", 1)


@pytest.fixture
def conflict(alice: UserStorage, upstream: RestUpstream) -> str:
    """Alice and somebody else changed the age and the city; she the name too, they the zip."""
    ada = load(alice)
    upstream.edit("/people", 1, age=40, address={"city": "Ockham", "zip": "N2"})
    return str(ada.save(age=41, name="Lovelace", address={"city": "Paris", "zip": "N1"}).write_id)


@pytest.fixture
def rejected(alice: UserStorage, upstream: RestUpstream) -> str:
    load(alice).save(age=1000, remote=False)
    upstream.then(answer(422, {"detail": "No.", "errors": {"age": ["Too old."], "shoe": ["Missing."]}}))
    alice.sync()
    [write] = alice.pending()
    return write.id


@pytest.fixture
def queued(alice: UserStorage) -> str:
    return str(load(alice).save(age=41, remote=False).write_id)


def url(write_id: str, what: str = "") -> str:
    return f"/dualstorage/writes/{write_id}" + (f"/{what}" if what else "")


def get(client: Any, path: str, status: int = 200) -> str:
    told = client.get(path, headers=BROWSER)
    assert told.status_code == status
    return str(told.text)


def words(page: str) -> str:
    body = page.partition("<body")[2]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def fields(page: str) -> dict[str, Any]:
    """What a browser sends of the page's last form as it stands, without a radio or a button."""
    form = page.rpartition('class="dualstorage-form"')[2].partition("</form>")[0]
    found: dict[str, Any] = {"shown": re.findall(r'name="shown" value="([^"]*)"', form)}
    for tag in re.findall(r"<input [^>]*>", form):
        name = html.unescape(re.search(r'name="([^"]*)"', tag)[1])  # type: ignore[index]
        if name == "shown" or 'type="radio"' in tag or ('type="checkbox"' in tag and " checked" not in tag):
            continue
        found[name] = html.unescape(re.search(r'value="([^"]*)"', tag)[1])  # type: ignore[index]
    for name, text in re.findall(r'<textarea [^>]*name="([^"]*)"[^>]*>\n(.*?)</textarea>', form, re.S):
        # As browsers do it: line breaks become CR LF.
        found[html.unescape(name)] = re.sub("\r\n|\r|\n", "\r\n", html.unescape(text))
    return found


class TestOneWrite:
    def test_its_page_tells_what_changed_and_since_when(self, client: Any, queued: str):
        told = words(get(client, url(queued)))
        assert "Change of 1: Ada" in told
        assert "waiting to be sent" in told
        assert "age 36 41" in told
        assert "accepted and kept here" in told

    def test_as_json_it_is_the_write(self, client: Any, queued: str):
        told = client.get(url(queued), headers={"X-User": "alice", "Accept": "application/json"})
        assert (told.json["id"], told.json["state"]) == (queued, "queued")

    @pytest.mark.parametrize("what", ["", "edit", "discard"])
    def test_anothers_is_a_404(self, client: Any, queued: str, what: str):
        for other in ({**BROWSER, "X-User": "bob"}, {"Accept": BROWSER["Accept"]}):
            assert client.get(url(queued, what), headers=other).status_code == 404
        assert client.get(url("0" * 32, what), headers=BROWSER).status_code == 404
        assert client.get(url("%00", what), headers=BROWSER).status_code == 404

    def test_a_list_leads_to_it(self, client: Any, queued: str):
        assert f'href="{url(queued)}"' in get(client, "/dualstorage/")

    def test_one_that_is_applied_is_shown_without_anything_to_decide(
        self, client: Any, alice: UserStorage, queued: str
    ):
        alice.sync()
        page = get(client, url(queued))
        assert "confirmed by the upstream service" in words(page)
        assert "<form" not in page

    def test_nothing_in_it_needs_a_script_or_an_inline_style(self, client: Any, conflict: str):
        for path in ("/dualstorage/", url(conflict), url(conflict, "discard"), "/dualstorage/history"):
            assert not re.search(r"<script|<style|\sstyle=|\son\w+=", get(client, path))


class TestConflict:
    def test_base_mine_and_theirs_stand_side_by_side(self, client: Any, conflict: str):
        told = words(get(client, url(conflict)))
        assert "age Before: 36 Mine 41 Theirs 40 Another value" in told
        assert "address.city Before: London Mine Paris Theirs Ockham Another value" in told
        assert "name Ada Lovelace Ada you" in told

    def test_each_field_is_chosen_for_itself(self, client: Any, upstream: RestUpstream, conflict: str):
        sent = {**fields(get(client, url(conflict))), "choice.0": "theirs", "choice.1": "mine"}
        told = client.post(url(conflict, "resolve"), data=sent, headers=BROWSER)
        assert (told.status_code, told.location) == (303, "/dualstorage/")
        assert held(upstream) == {**ADA, "name": "Lovelace", "age": 40, "address": {"city": "Paris", "zip": "N2"}}

    def test_another_value_is_typed_as_the_field_is(self, client: Any, upstream: RestUpstream, conflict: str):
        sent = {**fields(get(client, url(conflict))), "choice.0": "other", "choice.1": "theirs", "other.0": " 42 "}
        client.post(url(conflict, "resolve"), data=sent, headers=BROWSER)
        assert (held(upstream)["age"], held(upstream)["address"]["city"]) == (42, "Ockham")

    @pytest.mark.parametrize("side", ["mine", "theirs"])
    def test_all_of_one_side_is_one_button(self, client: Any, upstream: RestUpstream, conflict: str, side: str):
        sent = {**fields(get(client, url(conflict))), "choice": side}
        assert client.post(url(conflict, "resolve"), data=sent, headers=BROWSER).status_code == 303
        assert held(upstream)["age"] == {"mine": 41, "theirs": 40}[side]

    def test_what_was_not_chosen_comes_back_with_what_was(self, client: Any, upstream: RestUpstream, conflict: str):
        sent = {**fields(get(client, url(conflict))), "choice.0": "other", "other.0": "old"}
        told = client.post(url(conflict, "resolve"), data=sent, headers=BROWSER)
        assert told.status_code == 422
        assert "This takes a number" in told.text
        assert "Choose what this shall be." in told.text
        assert 'name="other.0" value="old"' in told.text
        assert re.search(r'value="other" checked', told.text)
        assert held(upstream)["age"] == 40

    def test_what_the_model_refuses_stands_at_its_question(self, client: Any, conflict: str):
        sent = {**fields(get(client, url(conflict))), "choice.0": "other", "choice.1": "mine", "other.0": "-1"}
        told = client.post(url(conflict, "resolve"), data=sent, headers=BROWSER)
        assert told.status_code == 422
        assert re.search(
            r'<legend>age</legend>\s*<p class="dualstorage-error"[^>]*><span[^>]*>✗</span> is negative', told.text
        )

    def test_a_decision_over_what_was_never_seen_is_none(
        self, client: Any, alice: UserStorage, upstream: RestUpstream, conflict: str
    ):
        sent = {**fields(get(client, url(conflict))), "choice.0": "mine", "choice.1": "theirs"}
        upstream.edit("/people", 1, age=50)
        alice.edit(conflict, {"name": "Byron"})
        told = client.post(url(conflict, "resolve"), data=sent, headers=BROWSER)
        assert told.status_code == 409
        assert "has become another since you opened the page" in told.text
        assert held(upstream)["age"] == 50

    def test_a_record_that_is_gone_can_be_made_anew(self, client: Any, alice: UserStorage, upstream: RestUpstream):
        ada = load(alice)
        upstream.remove("/people", 1)
        write = str(ada.save(age=41).write_id)
        page = get(client, url(write))
        assert "Somebody else deleted this record meanwhile." in words(page)
        client.post(url(write, "resolve"), data={**fields(page), "choice": "theirs"}, headers=BROWSER)
        assert alice.pending() == []


class TestEdit:
    def test_the_form_shows_the_upstream_s_errors_at_their_fields(self, client: Any, rejected: str):
        page = get(client, url(rejected, "edit"))
        assert re.search(r'id="[^"]+-error"><span[^>]*>✗</span> Too old.', page)
        assert 'aria-invalid="true"' in page
        assert "shoe: Missing." in words(page)

    def test_corrected_it_is_sent_and_what_was_left_alone_stays(
        self, client: Any, alice: UserStorage, upstream: RestUpstream, rejected: str
    ):
        sent = fields(get(client, url(rejected, "edit")))
        sent["attributes[age]"] = "37"
        told = client.post(url(rejected, "edit"), data=sent, headers=BROWSER)
        assert (told.status_code, told.location, alice.pending()) == (303, "/dualstorage/", [])
        assert held(upstream) == {**ADA, "age": 37}

    def test_every_type_can_be_edited(self, client: Any, upstream: RestUpstream, rejected: str):
        sent = fields(get(client, url(rejected, "edit")))
        del sent["attributes[member]"]
        sent |= {"attributes[age]": "2.5", "attributes[bio]": "a\r\nb", "attributes[tags]": '["b", {"c": 1}]'}
        client.post(url(rejected, "edit"), data=sent, headers=BROWSER)
        wanted = {"age": 2.5, "member": False, "bio": "a\nb", "tags": ["b", {"c": 1}]}
        assert held(upstream) == {**ADA, **wanted}

    def test_wrong_input_comes_back_as_it_was(self, client: Any, upstream: RestUpstream, rejected: str):
        sent = fields(get(client, url(rejected, "edit")))
        sent |= {"attributes[age]": "old", "attributes[tags]": "[1,", "attributes[name]": "<Byron>"}
        told = client.post(url(rejected, "edit"), data=sent, headers=BROWSER)
        assert told.status_code == 422
        assert 'value="old"' in told.text
        assert "&lt;Byron&gt;" in told.text
        assert "\n[1,</textarea>" in told.text
        assert "This takes a number" in told.text
        assert "This is not valid JSON" in told.text
        assert held(upstream) == ADA

    def test_refused_again_it_leads_back_to_the_form(self, client: Any, upstream: RestUpstream, rejected: str):
        sent = {**fields(get(client, url(rejected, "edit"))), "attributes[age]": "999"}
        upstream.then(answer(422, {"errors": {"age": ["Still too old."]}}))
        told = client.post(url(rejected, "edit"), data=sent, headers=BROWSER, follow_redirects=True)
        assert "Still too old." in told.text
        assert 'value="999"' in told.text

    def test_a_form_of_what_is_settled_meanwhile_says_so(self, client: Any, alice: UserStorage, rejected: str):
        sent = {**fields(get(client, url(rejected, "edit"))), "attributes[age]": "37"}
        alice.discard(rejected)
        told = client.post(url(rejected, "edit"), data=sent, headers=BROWSER, follow_redirects=True)
        assert (told.status_code, "The change was given up." in told.text) == (200, True)

    def test_nothing_changed_is_sent_again_as_it_was(self, client: Any, alice: UserStorage, rejected: str):
        sent = fields(get(client, url(rejected, "edit")))
        client.post(url(rejected, "edit"), data=sent, headers=BROWSER)
        assert (alice.pending(), load(alice)["age"]) == ([], 1000)


class TestDiscard:
    def test_it_asks_first_and_tells_what_goes_along(self, client: Any, alice: UserStorage, upstream: RestUpstream):
        upstream.reachable = False
        person = alice.collection("people").create(name="Booth", remote=False)
        alice.collection("notes", person_id=person.id).create(text="hers", remote=False)
        [first, _] = alice.pending()
        page = get(client, url(first.id, "discard"))
        assert "These wait for it" in words(page)
        assert "New record: hers" in words(page)
        assert len(alice.pending()) == 2
        told = client.post(url(first.id, "discard"), headers=BROWSER)
        assert (told.status_code, alice.pending()) == (303, [])

    def test_clicked_twice_it_says_what_became_of_it(self, client: Any, queued: str):
        client.post(url(queued, "discard"), headers=BROWSER)
        told = client.post(url(queued, "discard"), headers=BROWSER, follow_redirects=True)
        assert told.status_code == 200
        assert "given up" in told.text

    @pytest.mark.parametrize("what", ["retry", "discard", "edit"])
    def test_one_that_is_being_sent_says_so_with_a_way_back(
        self, app: Flask, client: Any, alice: UserStorage, upstream: RestUpstream, queued: str, what: str
    ):
        sent = {**fields(get(client, url(queued, "edit"))), "attributes[name]": "Typed"}
        told: list[Any] = []

        def decide(received: Any) -> Any:
            told.append(app.test_client().post(url(queued, what), data=sent if what == "edit" else {}, headers=BROWSER))
            return answer(200, {**ADA, "age": 41})

        upstream._handler = decide
        alice.sync()
        [page] = told
        assert page.status_code == 409
        assert "being sent right now" in page.text
        assert f'href="{url(queued)}"' in page.text
        assert what != "edit" or 'value="Typed"' in page.text


class TestSeveral:
    @pytest.fixture
    def three(self, alice: UserStorage) -> list[str]:
        people = alice.collection("people")
        return [people.create(name=name, remote=False).pending_write.id for name in ("A", "B", "C")]  # type: ignore[union-attr]

    def test_those_that_are_ticked_are_sent(self, client: Any, alice: UserStorage, three: list[str]):
        told = client.post(
            "/dualstorage/writes/retry", data={"write": three[:2]}, headers=BROWSER, follow_redirects=True
        )
        assert "2 changes were sent." in told.text
        assert [write.id for write in alice.pending()] == three[2:]

    def test_those_that_are_ticked_are_discarded_after_asking(self, client: Any, alice: UserStorage, three: list[str]):
        told = client.post("/dualstorage/writes/discard", data={"write": [three[0], three[2]]}, headers=BROWSER)
        page = told.text
        assert "Discard these 2 changes?" in page
        ticked = re.findall(r'name="write" value="([^"]+)"', page)
        assert ticked == [three[0], three[2]]
        assert len(alice.pending()) == 3
        told = client.post(
            "/dualstorage/writes/discard", data={"write": ticked, "sure": "1"}, headers=BROWSER, follow_redirects=True
        )
        assert "2 changes were given up." in told.text
        assert [write.id for write in alice.pending()] == [three[1]]

    def test_what_needs_a_decision_is_not_sent_again_with_the_others(
        self, client: Any, alice: UserStorage, upstream: RestUpstream, conflict: str, three: list[str]
    ):
        upstream.then(answer(200, body=b"<html>", headers={"Content-Type": "text/html"}))
        alice.sync()
        doubtful = next(write.id for write in alice.pending() if write.state == "in_doubt")
        before = len(upstream.sent)
        ticked = {"write": [conflict, doubtful]}
        told = client.post("/dualstorage/writes/retry", data=ticked, headers=BROWSER, follow_redirects=True)
        assert "0 changes were sent. 2 are still here." in told.text
        assert len(upstream.sent) == before
        assert held(upstream)["age"] == 40

    def test_nothing_ticked_is_said(self, client: Any, three: list[str]):
        for what in ("discard", "retry"):
            told = client.post(f"/dualstorage/writes/{what}", headers=BROWSER, follow_redirects=True)
            assert "Nothing was selected." in told.text

    def test_anothers_are_left_alone(self, client: Any, alice: UserStorage, three: list[str]):
        bob = {**BROWSER, "X-User": "bob"}
        for what in ("retry", "discard"):
            client.post(
                f"/dualstorage/writes/{what}", data={"write": [*three, "\0", "x" * 99], "sure": "1"}, headers=bob
            )
        assert [write.id for write in alice.pending()] == three
        assert client.post("/dualstorage/writes/discard", data={"write": three[0]}, headers=bob).status_code == 303

    def test_another_site_decides_nothing(self, client: Any, alice: UserStorage, three: list[str]):
        for what in ("retry", "discard"):
            headers = {**BROWSER, "Sec-Fetch-Site": "cross-site"}
            assert client.post(f"/dualstorage/writes/{what}", data={"write": three}, headers=headers).status_code == 403
        assert len(alice.pending()) == 3


class TestHistory:
    def test_it_tells_what_became_of_each(self, client: Any, alice: UserStorage, queued: str):
        alice.sync()
        alice.discard(alice.collection("people").create(name="B", remote=False).pending_write.id)  # type: ignore[union-attr]
        told = words(get(client, "/dualstorage/history"))
        assert re.search(r"New record: B /people .* never ⊘ given up", told)
        assert re.search(r"Change of 1: Ada /people .* 1 time ✓ sent", told)

    def test_as_json_when_asked(self, client: Any, alice: UserStorage, queued: str):
        alice.sync()
        told = client.get("/dualstorage/history", headers={"X-User": "alice", "Accept": "application/json"})
        assert [write["id"] for write in told.json["writes"]] == [queued]
        assert client.get("/dualstorage/history", headers={"X-User": "bob", "Accept": "application/json"}).json == {
            "writes": []
        }


class TestInOtherWords:
    def test_every_text_goes_through_flask_babel_where_the_app_uses_it(
        self, app: Flask, client: Any, conflict: str, monkeypatch: pytest.MonkeyPatch
    ):
        Babel(app)
        monkeypatch.setattr(
            "flask_babel.gettext", lambda text, **values: "¡" + (text % values if values else text) + "!"
        )
        monkeypatch.setattr(
            "flask_babel.ngettext", lambda one, more, num, **values: f"¡{more % {'num': num, **values}}!"
        )
        for path in ("/dualstorage/", url(conflict), url(conflict, "discard"), "/dualstorage/history"):
            body = get(client, path).partition("<body")[2].partition(">")[2]
            # What is left when the translated texts are taken out is data: no words of ours.
            left = re.sub(r"¡[^!]*!", " ", html.unescape(re.sub(r"<[^>]*>", " ", body)))
            assert set(re.findall(r"[A-Za-z]{2,}", left)) <= {
                "Ada",
                "Lovelace",
                "London",
                "Paris",
                "Ockham",
                "people",
                "UTC",
                "zip",
                "city",
                "N1",
                "N2",
            }
