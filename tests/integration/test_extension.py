"""The extension: set-up in any order, several apps and instances, who the owner is, and what an app registers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, current_app, g, has_request_context, request, session
from flask_caching import Cache
from flask_login import LoginManager, UserMixin, login_user, logout_user
from requests.auth import HTTPBasicAuth

from flask_dualstorage import (
    ByKey,
    Collection,
    CollectionUnknown,
    ConfigurationError,
    Dialect,
    DualStorage,
    Model,
    NoCredentials,
    ValidationFailed,
)
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import HostileUpstream, answer
from tests.upstreams.rest import RestUpstream
from tests.whole import MakeApp, User, storage_of

CRM = "http://crm.example/api"
ALICE = {"X-User": "alice"}
WRONG_POLICIES = ("mine", 1, {"*": ByKey("id")}, {1: "merge"}, {"age": "mine"})


@pytest.fixture
def plain_app(tmp_path: Path, upstream: RestUpstream, bare_environment: None) -> Callable[..., Flask]:
    """Make an app without the extension, in an instance folder of its own."""

    def make(name: str = "app", **config: Any) -> Flask:
        app = Flask("app", instance_path=str(tmp_path / name))
        app.config.update({"SECRET_KEY": "x", "TESTING": True, "DUALSTORAGE_UPSTREAM_URL": upstream.url, **config})
        return app

    return make


def names(storage: Any) -> list[str]:
    return storage.collection("people").fetch().pluck("name")


# --- set-up --------------------------------------------------------------------------------------------------


class TestSetUp:
    def test_a_second_init_app_on_one_app_is_refused(self, plain_app: Callable[..., Flask]):
        app = plain_app()
        dualstorage = DualStorage(app)
        first = app.extensions["dualstorage"]
        for again in (lambda: dualstorage.init_app(app), lambda: DualStorage(app)):
            with pytest.raises(RuntimeError, match="once for each app"):
                again()
        assert app.extensions["dualstorage"] is first

    def test_a_factory_makes_apps_around_one_importable_object(self, plain_app: Callable[..., Flask]):
        dualstorage = DualStorage()

        def create_app(name: str) -> Flask:
            app = plain_app(name)
            dualstorage.init_app(app)
            return app

        one, other = create_app("one"), create_app("other")
        with one.app_context():
            dualstorage.for_user("alice").collection("people").create(name="Eve", remote=False)
        with other.app_context():
            assert dualstorage.for_user("alice").pending() == []
        with one.app_context():
            assert len(dualstorage.for_user("alice").pending()) == 1

    def test_registering_after_init_app_counts_too(self, plain_app: Callable[..., Flask], upstream: RestUpstream):
        dualstorage = DualStorage(plain_app())
        app = plain_app("other")
        dualstorage.init_app(app)
        upstream.records["/staff"] = [{"id": 9, "name": "Eve"}]
        dualstorage.register(type("People", (Collection,), {"url": "/staff"}))
        assert names(storage_of(app).for_user("alice")) == ["Eve"]

    @pytest.mark.parametrize("cache_first", [True, False])
    def test_the_order_of_init_app_does_not_matter(self, plain_app: Callable[..., Flask], cache_first: bool):
        app, cache, dualstorage = plain_app(), Cache(config={"CACHE_TYPE": "SimpleCache"}), DualStorage()
        for init_app in (cache.init_app, dualstorage.init_app)[:: 1 if cache_first else -1]:
            init_app(app)
        names(storage_of(app).for_user("alice"))
        assert storage_of(app).engine.bases.backend is app.extensions["cache"][cache]

    @pytest.mark.parametrize("how", ["to the constructor", "to init_app"])
    def test_the_cache_that_is_given_is_the_one_used(self, plain_app: Callable[..., Flask], how: str):
        app = plain_app()
        caches = [Cache(app, config={"CACHE_TYPE": "SimpleCache"}) for _ in range(3)]
        if how == "to init_app":
            DualStorage().init_app(app, cache=caches[1])
        else:
            DualStorage(app, cache=caches[1])
        names(storage_of(app).for_user("alice"))
        used = [bool(app.extensions["cache"][cache]._cache) for cache in caches]
        assert used == [False, True, False]

    def test_several_caches_and_none_given_is_told_at_first_use(self, plain_app: Callable[..., Flask]):
        app = plain_app()
        for _ in range(2):
            Cache(app, config={"CACHE_TYPE": "SimpleCache"})
        DualStorage(app)
        with pytest.raises(ConfigurationError, match="name the one to use"):
            names(storage_of(app).for_user("alice"))

    def test_a_null_cache_is_a_warning_and_private_files(
        self, plain_app: Callable[..., Flask], upstream: RestUpstream, caplog: pytest.LogCaptureFixture
    ):
        app = plain_app()
        Cache(app, config={"CACHE_TYPE": "NullCache", "CACHE_NO_NULL_WARNING": True})
        DualStorage(app)
        alice = storage_of(app).for_user("alice")
        with caplog.at_level(logging.WARNING, "flask_dualstorage"):
            names(alice)
        assert "NullCache" in caplog.text
        upstream.unplug()
        assert names(alice) == ["Ada", "Grace"]

    def test_it_needs_no_context_when_it_is_bound_to_an_app(self, plain_app: Callable[..., Flask]):
        app = plain_app()
        DualStorage(app)
        storage = app.extensions["dualstorage"]
        assert not current_app
        alice = storage.for_user("alice")
        assert names(alice) == ["Ada", "Grace"]
        alice.collection("people").create(name="Eve", remote=False)
        assert alice.sync().applied == 1
        assert storage.for_user("alice").status().pending == 0
        storage.forget("alice")

    def test_the_importable_object_says_what_may_be_forgotten(self, plain_app: Callable[..., Flask]):
        dualstorage = DualStorage()
        with plain_app().app_context(), pytest.raises(RuntimeError, match=r"Did you forget to call '?init_app"):
            dualstorage.for_user("alice")
        with pytest.raises(RuntimeError, match="application context"):
            dualstorage.for_user("alice")

    def test_an_app_of_another_instance_is_none_of_this_one(self, plain_app: Callable[..., Flask]):
        """What is registered on one must not silently be looked for on another."""
        mine, theirs = DualStorage(), DualStorage()
        app = plain_app()
        theirs.init_app(app)
        with app.app_context(), pytest.raises(RuntimeError, match=r"Did you forget to call '?init_app"):
            mine.for_user("alice")

    def test_two_instances_keep_apart_what_is_registered_and_who_is_there(
        self, plain_app: Callable[..., Flask], upstream: RestUpstream
    ):
        upstream.records |= {"/one": [{"id": 1, "name": "One"}], "/two": [{"id": 1, "name": "Two"}]}
        told = {}
        for name in ("one", "two"):
            dualstorage = DualStorage()
            dualstorage.register(type("People", (Collection,), {"url": f"/{name}"}))
            dualstorage.user_loader(lambda name=name: name)
            app = plain_app(name)
            dualstorage.init_app(app)
            with app.test_request_context():
                told[name] = (dualstorage.owner, names(dualstorage))
        assert told == {"one": ("user:one", ["One"]), "two": ("user:two", ["Two"])}

    def test_nested_contexts_are_of_the_innermost_app(self, plain_app: Callable[..., Flask]):
        dualstorage = DualStorage()
        dualstorage.user_loader(lambda: request.headers.get("X-User"))
        outer, inner = plain_app("outer"), plain_app("inner")
        for app in (outer, inner):
            dualstorage.init_app(app)
        with outer.test_request_context(headers=ALICE):
            dualstorage.collection("people").create(name="Outer", remote=False)
            with inner.app_context():
                assert dualstorage.for_user("alice").pending() == []
                with pytest.raises(RuntimeError, match="for_user"):
                    _ = dualstorage.owner
            with inner.test_request_context(headers={"X-User": "bob"}):
                assert dualstorage.owner == "user:bob"
                assert dualstorage.pending() == []
            assert dualstorage.owner == "user:alice"
            assert len(dualstorage.pending()) == 1

    def test_nothing_is_opened_before_it_is_used(self, plain_app: Callable[..., Flask], upstream: RestUpstream):
        app = plain_app()
        DualStorage(app)
        assert not Path(app.instance_path).exists()
        assert upstream.connections == 0

    def test_config_is_read_once(self, plain_app: Callable[..., Flask]):
        app = plain_app()
        DualStorage(app)
        app.config["DUALSTORAGE_UPSTREAM_URL"] = CRM
        assert names(storage_of(app).for_user("alice")) == ["Ada", "Grace"]


# --- web -----------------------------------------------------------------------------------------------------


class TestBlueprint:
    def test_the_pages_are_where_the_app_wants_them(self, plain_app: Callable[..., Flask]):
        app = plain_app(DUALSTORAGE_URL_PREFIX="/my/changes")
        DualStorage(app).user_loader(lambda: "alice")
        client = app.test_client()
        assert client.get("/my/changes/status").json["pending"] == 0
        assert client.get("/my/changes/").status_code == 200
        assert client.get("/dualstorage/status").status_code == 404

    def test_without_pages_the_rest_works(self, plain_app: Callable[..., Flask]):
        app = plain_app(DUALSTORAGE_REGISTER_BLUEPRINT=False)
        DualStorage(app).user_loader(lambda: "alice")
        app.add_url_rule("/", view_func=lambda: ", ".join(names(storage_of(app))))
        client = app.test_client()
        assert client.get("/").text == "Ada, Grace"
        assert client.get("/dualstorage/status").status_code == 404
        assert client.post("/dualstorage/sync").status_code == 404
        assert "dualstorage.status" not in {rule.endpoint for rule in app.url_map.iter_rules()}
        assert app.jinja_env.get_template("dualstorage/macros.html")
        assert "dualstorage" in app.jinja_env.globals


# --- what is registered --------------------------------------------------------------------------------------


def refuse(**declared: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        DualStorage().register(type("People", (Collection,), declared))
    return str(caught.value)


class TestRegister:
    def test_it_gives_the_class_unchanged_and_names_it(self):
        dualstorage = DualStorage()

        @dualstorage.register
        class People(Collection):
            pass

        @dualstorage.register
        class Other(People):
            name = "staff"

        assert issubclass(People, Collection)
        assert (People.name, Other.name) == ("people", "staff")

    def test_the_same_class_again_is_nothing_new(self):
        dualstorage = DualStorage()
        people = type("People", (Collection,), {})
        assert dualstorage.register(people) is dualstorage.register(people) is people

    def test_a_name_is_taken_once(self):
        dualstorage = DualStorage()
        dualstorage.register(type("People", (Collection,), {}))
        with pytest.raises(ConfigurationError, match="'people' is registered already, as People"):
            dualstorage.register(type("Staff", (Collection,), {"name": "people"}))
        dualstorage.register(type("Profile", (Model,), {"url": "/profile"}))
        with pytest.raises(ConfigurationError, match="'Profile' is registered already"):
            dualstorage.register(type("Profile", (Model,), {"url": "/other"}))

    @pytest.mark.parametrize("what", [int, object, DualStorage, "people", None, len])
    def test_only_collections_and_models_are_registered(self, what: Any):
        with pytest.raises(ConfigurationError, match="takes a subclass of Collection or Model"):
            DualStorage().register(what)

    @pytest.mark.parametrize(
        "declared",
        [
            {"local": True, "remote": True},
            {"local": True, "model": type("Person", (Model,), {"remote": True})},
            {"remote": True, "model": type("Person", (Model,), {"local": True})},
            {"model": type("Person", (Model,), {"local": True, "remote": True})},
        ],
    )
    def test_local_and_remote_at_once_is_refused(self, declared: dict[str, Any]):
        assert "both local and remote" in refuse(**declared)

    def test_local_and_remote_at_once_is_refused_of_a_model_alone(self):
        both = type("Profile", (Model,), {"url": "/profile", "local": True, "remote": True})
        with pytest.raises(ConfigurationError, match="both local and remote"):
            DualStorage().register(both)

    def test_of_methods_remote_wins(self, plain_app: Callable[..., Flask], upstream: RestUpstream):
        dualstorage = DualStorage()
        dualstorage.register(type("People", (Collection,), {"local": lambda self: True, "remote": lambda self: True}))
        app = plain_app()
        dualstorage.init_app(app)
        assert names(storage_of(app).for_user("alice")) == ["Ada", "Grace"]
        assert len(upstream.received) == 1

    @pytest.mark.parametrize(
        ("name", "value", "takes"),
        [
            ("when_dirty", "remote", "'local' or 'rebase'"),
            ("in_doubt", "never", "'auto', 'resend' or 'hold'"),
            *(("conflict", value, "'merge', 'client', 'server', 'manual', a callable") for value in WRONG_POLICIES),
            ("read_before_write", 1, "True or False"),
            ("dialect", "django", "flask_dualstorage.Dialect"),
        ],
    )
    def test_a_wrong_declaration_is_refused_with_what_it_takes(self, name: str, value: Any, takes: str):
        message = refuse(**{name: value})
        assert message.startswith(f"People.{name} is {value!r}; it takes")
        assert takes in message

    def test_a_wrong_dialect_is_refused(self):
        with pytest.raises(ConfigurationError, match=r"Dialect\.update_method is 'GET'; it takes 'PUT' or 'PATCH'"):
            Dialect(update_method="GET")
        with pytest.raises(ConfigurationError, match=r"Dialect\.id_attribute is ''; it takes the name"):
            Dialect(id_attribute="")

    def test_every_page_at_once_needs_to_know_what_a_page_is(self, user: User, upstream: RestUpstream):
        with pytest.raises(ConfigurationError, match="all_pages"):
            user().collection("people").fetch(all_pages=True)
        assert upstream.received == []

    def test_an_app_of_local_collections_needs_no_upstream(self, plain_app: Callable[..., Flask]):
        dualstorage = DualStorage()
        dualstorage.register(type("Drafts", (Collection,), {"local": True}))
        app = plain_app()
        del app.config["DUALSTORAGE_UPSTREAM_URL"]
        dualstorage.init_app(app)
        drafts = storage_of(app).for_user("alice").collection("drafts")
        drafts.create(title="Notes")
        assert drafts.fetch().pluck("title") == ["Notes"]

    def test_one_collection_that_is_not_local_needs_one(self, plain_app: Callable[..., Flask]):
        dualstorage = DualStorage()
        dualstorage.register(type("Drafts", (Collection,), {"local": True}))
        dualstorage.register(type("People", (Collection,), {}))
        app = plain_app()
        del app.config["DUALSTORAGE_UPSTREAM_URL"]
        with pytest.raises(ConfigurationError, match="DUALSTORAGE_UPSTREAM_URL is not set"):
            dualstorage.init_app(app)

    def test_an_upstream_that_is_not_configured_is_told_at_start(self, plain_app: Callable[..., Flask]):
        dualstorage = DualStorage()
        dualstorage.register(type("Bills", (Collection,), {"upstream": "billing"}))
        with pytest.raises(ConfigurationError, match=r"Bills\.upstream is 'billing'.*DUALSTORAGE_UPSTREAMS.*default"):
            dualstorage.init_app(plain_app())

    def test_each_collection_goes_to_its_upstream(self, plain_app: Callable[..., Flask], upstream: RestUpstream):
        dualstorage = DualStorage()
        dualstorage.register(type("Bills", (Collection,), {"upstream": "billing"}))
        with RestUpstream({"/bills": [{"id": 5}]}) as billing:
            app = plain_app(DUALSTORAGE_UPSTREAMS={"billing": {"url": billing.url}})
            dualstorage.init_app(app)
            alice = storage_of(app).for_user("alice")
            assert alice.collection("bills").pluck("id") == [5]
            alice.collection("bills").create(total=7)
            assert names(alice) == ["Ada", "Grace"]
            assert [one.target for one in billing.received] == ["/bills", "/bills"]
        assert [one.target for one in upstream.received] == ["/people"]

    def test_a_plain_collection_needs_no_registering_unless_the_app_is_strict(
        self, plain_app: Callable[..., Flask], upstream: RestUpstream
    ):
        upstream.records["/pets"] = [{"id": 1, "name": "Rex"}]
        free, strict = plain_app("free"), plain_app("strict", DUALSTORAGE_STRICT_COLLECTIONS=True)
        for app in (free, strict):
            DualStorage(app)
        assert storage_of(free).for_user("alice").collection("pets").pluck("name") == ["Rex"]
        with pytest.raises(CollectionUnknown, match="'pets' is registered; there are: none"):
            storage_of(strict).for_user("alice").collection("pets")

    def test_a_model_alone_needs_a_url(self, user: User):
        with pytest.raises(ConfigurationError, match="Profile stands alone and has neither url nor url_root"):
            user().model(type("Profile", (Model,), {}))


# --- who the owner is ----------------------------------------------------------------------------------------


class Person(UserMixin):
    def __init__(self, name: str) -> None:
        self.id = name


class TestOwner:
    def test_a_bare_name_means_a_user_everywhere(self, make_app: MakeApp, upstream: RestUpstream):
        storage = storage_of(make_app(url=upstream.url))
        storage.for_user("alice").collection("people").create(name="Eve", remote=False)
        assert storage.for_user("alice").owner == storage.for_user("user:alice").owner == "user:alice"
        assert len(storage.for_user("user:alice").pending()) == 1
        assert storage.owners() == ["user:alice"]
        storage.forget("alice", pending=True)
        assert storage.for_user("user:alice").pending() == []

    def test_what_can_be_no_owner_is_refused(self, make_app: MakeApp, upstream: RestUpstream):
        storage = storage_of(make_app(url=upstream.url))
        for act in (storage.for_user, lambda owner: storage.adopt(owner, "a"), lambda owner: storage.adopt("a", owner)):
            for owner in ("", "a\nb", "x" * 1000, None):
                with pytest.raises(ValidationFailed):
                    act(owner)

    def test_the_user_loader_tells_whose_storage_it_is(self, make_app: MakeApp, upstream: RestUpstream):
        app = make_app(url=upstream.url)
        for name in ("alice", "bob"):
            with app.test_request_context(headers={"X-User": name}):
                storage_of(app).collection("people").create(name=f"of {name}", remote=False)
                [write] = storage_of(app).pending()
                assert write.attributes["name"] == f"of {name}"
                assert storage_of(app).status().pending == 1

    def test_flask_logins_user_is_the_owner(self, plain_app: Callable[..., Flask]):
        app = plain_app()
        LoginManager(app).user_loader(Person)
        dualstorage = DualStorage(app)
        app.add_url_rule("/owner", "owner", lambda: dualstorage.owner)
        app.add_url_rule("/in/<name>", "in", lambda name: (login_user(Person(name)), dualstorage.owner)[1])
        app.add_url_rule("/out", "out", lambda: (logout_user(), dualstorage.owner)[1])
        client = app.test_client()
        assert client.get("/owner").text.startswith("anon:")
        assert client.get("/in/alice").text == client.get("/owner").text == "user:alice"
        assert client.get("/out").text.startswith("anon:")

    def test_anonymous_visitors_have_storages_of_their_own(self, make_app: MakeApp, upstream: RestUpstream):
        app = make_app(url=upstream.url)
        storage = storage_of(app)
        app.add_url_rule("/", "keep", lambda: (storage.collection("people").create(remote=False), storage.owner)[1])
        app.add_url_rule("/count", "count", lambda: str(len(storage.pending())))
        one, other = app.test_client(), app.test_client()
        owner = one.get("/").text
        assert one.get("/").text == owner
        assert (one.get("/count").text, other.get("/count").text) == ("2", "0")
        assert len(storage.for_user(owner).pending()) == 2

    def test_outside_a_request_there_is_no_current_owner(self, make_app: MakeApp, upstream: RestUpstream):
        storage = storage_of(make_app(url=upstream.url))
        for act in (lambda: storage.owner, lambda: storage.collection("people"), storage.status, storage.sync):
            with pytest.raises(RuntimeError, match="for_user"):
                act()


class TestOneRequest:
    def test_one_collection_asked_for_twice_is_the_same_and_read_once(self, make_app: MakeApp, upstream: RestUpstream):
        app = make_app(url=upstream.url)
        storage = storage_of(app)
        with app.test_request_context(headers=ALICE):
            people = storage.collection("people")
            assert storage.collection("people") is people
            assert storage.for_user("alice").collection("people") is people
            assert len(people) == len(storage.collection("people")) == 2
            assert storage.for_user("bob").collection("people") is not people
            assert storage.collection("pets") is not people
        with app.test_request_context(headers=ALICE):
            assert storage.collection("people") is not people
        assert [one.target for one in upstream.received] == ["/people"]

    def test_other_parameters_are_another_collection_and_the_same_id_in_text_is_not(
        self, make_app: MakeApp, upstream: RestUpstream
    ):
        dualstorage = DualStorage()
        dualstorage.register(type("Notes", (Collection,), {"url": "/people/{person_id}/notes"}))
        app = make_app(dualstorage, url=upstream.url)
        with app.test_request_context(headers=ALICE):
            notes = dualstorage.collection("notes", person_id=7)
            assert dualstorage.collection("notes", person_id="7") is notes
            assert dualstorage.collection("notes", person_id=8) is not notes

    def test_outside_a_request_nothing_is_remembered(self, user: User):
        alice = user()
        assert alice.collection("people") is not alice.collection("people")

    def test_two_apps_of_one_dispatch_do_not_share_what_is_remembered(
        self, plain_app: Callable[..., Flask], upstream: RestUpstream
    ):
        dualstorage = DualStorage()
        dualstorage.user_loader(lambda: "alice")
        outer, inner = plain_app("outer"), plain_app("inner")
        for app in (outer, inner):
            dualstorage.init_app(app)
        with outer.test_request_context() as context:
            people = dualstorage.collection("people")
            with inner.request_context(context.request.environ):
                assert dualstorage.collection("people") is not people

    def test_a_list_shows_what_this_request_wrote(self, make_app: MakeApp, upstream: RestUpstream):
        app = make_app(url=upstream.url)
        with app.test_request_context(headers=ALICE):
            people = storage_of(app).collection("people")
            assert len(people) == 2
            storage_of(app).collection("people").create(name="Eve", remote=False)
            assert people.pluck("name") == ["Ada", "Grace", "Eve"]
            storage_of(app).sync()
            assert [person.dirty for person in people] == [False, False, False]


# --- credentials ---------------------------------------------------------------------------------------------


class TestUpstreamAuth:
    def authorized(self, upstream: HostileUpstream) -> list[str | None]:
        return [one.headers.get("Authorization") for one in upstream.received]

    def test_it_is_asked_once_for_each_call_in_the_calling_thread_with_its_contexts(
        self, make_app: MakeApp, upstream: RestUpstream
    ):
        dualstorage, asked = DualStorage(), []

        @dualstorage.upstream_auth
        def auth(owner: str, upstream: str) -> dict[str, str]:
            asked.append((owner, upstream, threading.get_ident(), has_request_context() and g.bearer))
            return {"Authorization": f"Bearer {g.bearer}"}

        app = make_app(dualstorage, url=upstream.url)
        here = threading.get_ident()
        with app.test_request_context(headers=ALICE):
            for token, act in [
                ("t1", lambda: dualstorage.collection("people").fetch()),
                ("t2", lambda: dualstorage.collection("people").load(1)),
                ("t3", lambda: dualstorage.collection("people").create(name="Eve")),
                ("t4", lambda: dualstorage.collection("people")[0].save(age=37)),
                ("t5", lambda: dualstorage.collection("people")[0].destroy()),
            ]:
                g.bearer = token
                act()
            assert [token for _, _, _, token in asked] == ["t1", "t2", "t3", "t4", "t5"]
            assert self.authorized(upstream) == [f"Bearer t{number}" for number in range(1, 6)]
            for number in range(5):
                dualstorage.collection("people").create(name=str(number), remote=False)
            assert len(asked) == 5
            g.bearer = "t6"
            assert dualstorage.sync().applied == 5
        assert asked[5:] == [("user:alice", "default", here, "t6")]
        assert self.authorized(upstream)[5:] == ["Bearer t6"] * 5
        assert {(owner, name, thread) for owner, name, thread, _ in asked} == {("user:alice", "default", here)}

    @pytest.mark.parametrize(
        ("gives", "header"),
        [
            (None, None),
            (("alice", "s3cret"), "Basic YWxpY2U6czNjcmV0"),
            (HTTPBasicAuth("alice", "s3cret"), "Basic YWxpY2U6czNjcmV0"),
            ({"Authorization": "Token t"}, "Token t"),
        ],
    )
    def test_what_it_may_give(self, make_app: MakeApp, upstream: RestUpstream, gives: Any, header: str | None):
        dualstorage = DualStorage()
        dualstorage.upstream_auth(lambda owner, upstream: gives)
        names(storage_of(make_app(dualstorage, url=upstream.url)).for_user("alice"))
        assert self.authorized(upstream) == [header]

    @pytest.mark.parametrize("gives", ["Bearer t", 5, {"Authorization": "a\r\nb"}, {"Authorization": None}])
    def test_what_it_may_not_give_is_a_mistake_of_the_apps_and_not_shown(
        self, make_app: MakeApp, upstream: RestUpstream, gives: Any
    ):
        dualstorage = DualStorage()
        dualstorage.upstream_auth(lambda owner, upstream: gives)
        alice = storage_of(make_app(dualstorage, url=upstream.url)).for_user("alice")
        with pytest.raises(ConfigurationError, match="upstream_auth gave") as caught:
            names(alice)
        assert "Bearer t" not in str(caught.value)
        assert upstream.received == []

    def test_it_is_told_which_owner_and_which_upstream(self, plain_app: Callable[..., Flask], upstream: RestUpstream):
        dualstorage, asked = DualStorage(), []
        dualstorage.register(type("Bills", (Collection,), {"upstream": "billing"}))
        dualstorage.upstream_auth(lambda owner, upstream: asked.append((owner, upstream)))
        app = plain_app(DUALSTORAGE_UPSTREAMS={"billing": {"url": upstream.url}})
        upstream.records["/bills"] = []
        dualstorage.init_app(app)
        storage_of(app).for_user("alice").collection("bills").fetch()
        storage_of(app).for_user("bob").collection("people").fetch()
        assert asked == [("user:alice", "billing"), ("user:bob", "default")]

    def test_without_credentials_writes_wait_and_that_is_no_attempt(self, locked: Locked, upstream: RestUpstream):
        people = locked.alice.collection("people").fetch()
        locked.is_out = True
        result = people[0].save(age=37)
        person = people.create(name="Eve")
        assert result.dirty
        assert person.dirty
        assert "log in" in (result.reason or "")
        report = locked.alice.sync()
        assert (report.applied, report.remaining) == (0, 2)
        assert [(write.state, write.attempts) for write in locked.alice.pending()] == [("queued", 0)] * 2
        assert upstream.writes == []
        locked.is_out = False
        assert locked.alice.sync().applied == 2
        assert upstream.find("/people", 1) == {"id": 1, "name": "Ada", "age": 37}

    def test_without_credentials_a_fetch_is_a_401_and_never_a_copy(self, locked: Locked, upstream: RestUpstream):
        people = locked.alice.collection("people").fetch()
        people.load(1)
        locked.is_out = True
        for act in (
            people.fetch,
            lambda: people.load(1),
            lambda: locked.alice.collection("people").pluck("name"),
            lambda: people[0].fetch(),
        ):
            with pytest.raises(NoCredentials, match="log in") as caught:
                act()
            assert caught.value.code == 401
        assert len(upstream.received) == 2
        page = locked.app.test_client().get("/", headers=ALICE)
        assert page.status_code == 401
        assert "Ada" not in page.text

    def test_no_owner_is_sent_with_anothers_credential_or_cookie(self, make_app: MakeApp, upstream: RestUpstream):
        dualstorage = DualStorage()
        dualstorage.upstream_auth(lambda owner, upstream: {"Authorization": owner})
        storage = storage_of(make_app(dualstorage, url=upstream.url))
        for number in range(3):
            for name in ("alice", "bob"):
                upstream.then(answer(200, [], headers={"Set-Cookie": f"session={name}{number}; Path=/"}))
                storage.for_user(name).collection("people").fetch()
        assert self.authorized(upstream) == ["user:alice", "user:bob"] * 3
        assert [one.headers.get("Cookie") for one in upstream.received] == [None] * 6


class Locked:
    """An app whose users may have to log in to the upstream again."""

    def __init__(self, make_app: MakeApp, url: str) -> None:
        self.is_out = False
        dualstorage = DualStorage()
        dualstorage.upstream_auth(self.auth)
        self.app = make_app(dualstorage, url=url)
        self.alice: UserStorage = storage_of(self.app).for_user("alice")
        self.app.add_url_rule("/", "home", lambda: ", ".join(names(dualstorage)))

    def auth(self, owner: str, upstream: str) -> None:
        if self.is_out:
            raise NoCredentials("Please log in to the CRM again.")


@pytest.fixture
def locked(make_app: MakeApp, upstream: RestUpstream) -> Locked:
    return Locked(make_app, upstream.url)


# --- adopt and forget ----------------------------------------------------------------------------------------


def shown(storage: UserStorage) -> list[tuple[str, str | None]]:
    """Kind and name of every pending write, in order."""
    return [(write.kind, (write.attributes or {}).get("name")) for write in storage.pending()]


class TestAdopt:
    @pytest.fixture
    def anon(self, user: User) -> UserStorage:
        return user("anon:0f")

    @pytest.fixture
    def alice(self, anon: UserStorage) -> UserStorage:
        return storage_of(anon._engine.app).for_user("alice")

    def test_what_a_visitor_typed_follows_into_the_account(
        self, anon: UserStorage, alice: UserStorage, upstream: RestUpstream
    ):
        people = anon.collection("people").fetch()
        person = people.create(name="Eve", remote=False)
        people.get(1).save(name="Augusta", remote=False)
        people.get(2).destroy(remote=False)
        alice.adopt("anon:0f", "alice")
        assert shown(alice) == [("create", "Eve"), ("update", "Augusta"), ("delete", None)]
        assert anon.pending() == []
        assert storage_of(anon._engine.app).owners() == ["user:alice"]
        assert alice.sync().applied == 3
        assert [row["name"] for row in upstream.records["/people"]] == ["Augusta", "Eve"]
        assert alice.collection("people").fetch().get(person.id)["name"] == "Eve"

    def test_the_first_sees_nothing_of_the_seconds(self, anon: UserStorage, alice: UserStorage, upstream: RestUpstream):
        """On a shared computer another person may be logging in."""
        anon.collection("people").fetch()
        alice.collection("people").create(name="Eve", remote=False)
        alice.adopt("anon:0f", "alice")
        upstream.unplug()
        with pytest.raises(Exception, match="No copy of /people"):
            anon.collection("people").fetch()
        assert anon.pending() == []
        assert anon.status().pending == 0

    def test_later_writes_of_the_first_follow(self, anon: UserStorage, alice: UserStorage, upstream: RestUpstream):
        alice.adopt("anon:0f", "alice")
        person = anon.collection("people").create(name="Late")
        assert person.dirty
        assert anon.pending() == []
        assert shown(alice) == [("create", "Late")]
        assert upstream.writes == []

    def test_the_seconds_copies_stay(self, anon: UserStorage, alice: UserStorage, upstream: RestUpstream):
        alice.collection("people").fetch()
        alice.adopt("anon:0f", "alice")
        upstream.unplug()
        assert alice.collection("people").fetch().source == "cache"

    def test_both_edited_one_record_and_the_edits_become_one(
        self, anon: UserStorage, alice: UserStorage, upstream: RestUpstream
    ):
        alice.collection("people").fetch().get(1).save(age=37, remote=False)
        anon.collection("people").fetch().get(1).save(name="Augusta", remote=False)
        alice.adopt("anon:0f", "alice")
        assert len(alice.pending()) == 1
        alice.sync()
        assert upstream.find("/people", 1) == {"id": 1, "name": "Augusta", "age": 37}

    def test_an_edit_of_what_the_other_deleted_is_kept_as_refused(
        self, anon: UserStorage, alice: UserStorage, upstream: RestUpstream
    ):
        """Nothing disappears silently."""
        alice.collection("people").fetch().get(1).destroy(remote=False)
        anon.collection("people").fetch().get(1).save(name="Augusta", remote=False)
        alice.adopt("anon:0f", "alice")
        assert [(write.kind, write.state) for write in alice.pending()] == [
            ("delete", "queued"),
            ("update", "rejected"),
        ]

    def test_numbers_of_records_made_before_stay_known(
        self, anon: UserStorage, alice: UserStorage, upstream: RestUpstream
    ):
        person = anon.collection("people").create(name="Eve", remote=False)
        link = person.id
        anon.sync()
        alice.adopt("anon:0f", "alice")
        found = alice.collection("people").load(link)
        assert found is not None
        assert (found["name"], found.id) == ("Eve", 101)

    def test_local_records_move_and_join(self, user: User):
        dualstorage = DualStorage()
        dualstorage.register(type("Settings", (Collection,), {"local": True}))
        anon = user("anon:0f", dualstorage)
        alice = storage_of(anon._engine.app).for_user("alice")
        anon.collection("settings").create(id="look", theme="dark")
        anon.collection("settings").create(id="size", font=12)
        alice.collection("settings").create(id="look", theme="light", wide=True)
        alice.adopt("anon:0f", "alice")
        found = {each.id: dict(each) for each in alice.collection("settings").fetch()}
        assert found == {"look": {"id": "look", "theme": "dark", "wide": True}, "size": {"id": "size", "font": 12}}
        assert list(anon.collection("settings").fetch()) == []

    def test_to_adopt_oneself_or_again_changes_nothing(self, anon: UserStorage, alice: UserStorage):
        alice.collection("people").create(name="Eve", remote=False)
        alice.adopt("alice", "alice")
        for _ in range(2):
            alice.adopt("anon:0f", "alice")
        assert shown(alice) == [("create", "Eve")]

    def test_it_is_one_line_in_a_log_in_view(self, make_app: MakeApp, upstream: RestUpstream):
        dualstorage = DualStorage()
        app = make_app(dualstorage, url=upstream.url)
        dualstorage.user_loader(lambda: session.get("user"))

        @app.get("/login")
        def login() -> str:
            before = dualstorage.owner
            session["user"] = "alice"
            dualstorage.adopt(before, "alice")
            return ", ".join(str(name) for _, name in shown(storage_of(app)._mine()))

        app.add_url_rule(
            "/create", "create", lambda: str(dualstorage.collection("people").create(name="Eve", remote=False).dirty)
        )
        client = app.test_client()
        assert client.get("/create").text == "True"
        assert client.get("/login").text == "Eve"


class TestForget:
    def test_copies_are_forgotten_in_every_worker_and_pending_writes_stay(
        self, make_app: MakeApp, upstream: RestUpstream
    ):
        here, there = (storage_of(make_app(url=upstream.url)).for_user("alice") for _ in range(2))
        people = here.collection("people").fetch()
        people.load(1)
        people.create(name="Eve", remote=False)
        bob = storage_of(here._engine.app).for_user("bob")
        names(bob)
        here.forget("alice")
        upstream.unplug()
        for storage in (here, there):
            found = storage.collection("people").fetch()
            assert (found.source, found.pluck("name")) == ("local", ["Eve"])
            assert storage.collection("people").get(1) is None
        assert names(bob) == ["Ada", "Grace"]
        upstream.plug()
        assert there.sync().applied == 1

    def test_pending_writes_are_forgotten_only_where_it_is_asked(self, user: User, upstream: RestUpstream):
        alice = user()
        alice.collection("people").create(name="Eve", remote=False)
        alice.forget("alice", pending=True)
        assert alice.pending() == []
        assert alice.sync().applied == 0
        assert upstream.writes == []

    def test_an_owner_that_was_never_here_can_be_forgotten(self, user: User):
        user().forget("nobody")
        user().forget("nobody", pending=True)

    def test_to_forget_a_visitor_does_not_forget_the_account_that_took_over(self, user: User):
        """Log-in views adopt and then forget: what was adopted is the account's."""
        anon = user("anon:0f")
        alice = storage_of(anon._engine.app).for_user("alice")
        names(alice)
        anon.collection("people").create(name="Eve", remote=False)
        alice.adopt("anon:0f", "alice")
        epoch = alice._engine.outbox.store_state("user:alice", "/people", -1).epoch
        alice.forget("anon:0f", pending=True)
        assert shown(alice) == [("create", "Eve")]
        assert alice._engine.outbox.store_state("user:alice", "/people", -1).epoch == epoch
