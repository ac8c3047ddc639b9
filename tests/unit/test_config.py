"""Every key: its default, what it takes, and what it says to what it does not take."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from sqlalchemy.engine import URL, make_url

from flask_dualstorage import Dialect, dialects
from flask_dualstorage.config import Config, UpstreamConfig, read_config
from flask_dualstorage.errors import ConfigurationError

CRM = "https://crm.example/api"


def read(**keys: Any) -> Config:
    """Read these keys of an app, named without their prefix."""
    return read_config({f"DUALSTORAGE_{key}": value for key, value in keys.items()}, "/srv/app/instance")


def read_upstream(**keys: Any) -> UpstreamConfig:
    return read(UPSTREAM_URL=CRM, **keys).upstreams["default"]


def refusal(**keys: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(**keys)
    return str(caught.value)


def codes_of(response: object) -> list[int]:
    return [418]


#: Keys of the app: the attribute, its default, pairs of (accepted, as read), and what is refused.
OF_THE_APP: dict[str, tuple[Any, list[tuple[Any, Any]], list[Any]]] = {
    "MAX_AGE": (0.0, [(0, 0.0), (1.5, 1.5)], [-1, "5", None, True, float("nan"), float("inf")]),
    "STALE_WHILE_REVALIDATE": (0.0, [(0, 0.0), (60, 60.0)], [-1, "60", True, None, float("nan")]),
    "AUTO_SYNC": ("off", [("off", "off"), ("after_response", "after_response")], ["on", True, None, 5]),
    "STALE_IF_ERROR": (None, [(None, None), (0, 0.0), (60, 60.0)], [-1, "60", False, float("inf")]),
    "CACHE_TIMEOUT": (30 * 86_400.0, [(1, 1.0), (86_400, 86_400.0)], [0, 0.5, -1, None, "1", float("inf")]),
    "WHEN_DIRTY": ("local", [("local", "local"), ("rebase", "rebase")], ["remote", None, True, ["local"]]),
    "CONFLICT": (
        "merge",
        [*((name, name) for name in ("merge", "client", "server", "manual")), (codes_of, codes_of)],
        ["mine", None, {"*": "merge"}],
    ),
    "IN_DOUBT": ("auto", [("auto", "auto"), ("resend", "resend"), ("hold", "hold")], ["never", None, {}]),
    "MAX_ATTEMPTS": (8, [(1, 1), (100, 100)], [0, -1, 1.5, "8", None, True]),
    "SYNC_BUDGET": (10.0, [(0, 0.0), (2.5, 2.5)], [-1, "10", None]),
    "SYNC_CONCURRENCY": (8, [(1, 1)], [0, 1.5, "8", None, True]),
    "MAX_PENDING": (10_000, [(1, 1)], [0, "10", None, True]),
    "MAX_RECORD_BYTES": (1024 * 1024, [(1, 1)], [0, 1.5, None]),
    "KEEP_APPLIED": (86_400.0, [(0, 0.0), (60, 60.0)], [-1, None, "1"]),
    "URL_PREFIX": ("/dualstorage", [("/", "/"), ("/a/b", "/a/b")], ["", "a", "/a/", None, 5]),
    "REGISTER_BLUEPRINT": (True, [(False, False), (True, True)], [0, 1, "no", None]),
    "STRICT_COLLECTIONS": (False, [(True, True)], [0, "yes", None]),
}

#: Keys that are each upstream's.
OF_AN_UPSTREAM: dict[str, tuple[Any, list[tuple[Any, Any]], list[Any]]] = {
    "TIMEOUT": (
        (1.0, 5.0),
        [((2, 3), (2.0, 3.0)), ([0.5, 1], (0.5, 1.0)), (4, (4.0, 4.0))],
        [0, (0, 1), (1, 0), (1,), (1, 2, 3), "5", ("1", "2"), None, (1, None), True, float("inf"), (1, float("nan"))],
    ),
    "OFFLINE_STATUS_CODES": (
        (408, 502, 503, 504),
        [((), frozenset()), ([500], frozenset({500})), ({418, 503}, frozenset({418, 503})), (codes_of, codes_of)],
        [503, "503", ["503"], [99], [600], [True], [503.0], None],
    ),
    "IDEMPOTENCY_HEADER": (
        "Idempotency-Key",
        [(None, None), ("X-Request-Id", "X-Request-Id")],
        ["", "two words", "a:b", "a\nb", "ü", 5, True],
    ),
    "DIALECT": (None, [(dialects.drf, dialects.drf), (None, None)], ["drf", {"slash": True}, Dialect]),
    "HONOURS_KEYS": (
        False,
        [(True, True), (False, False), (3600, 3600.0), (0.5, 0.5)],
        [0, -1, "yes", None, float("inf")],
    ),
    "CREDENTIAL_PROBE": (None, [("/me", "/me"), (None, None)], ["", "me", "https://crm.example/me", "/a b", "/ü", 5]),
    "BREAKER_THRESHOLD": (3, [(1, 1)], [0, 1.5, "3", None, True]),
    "BREAKER_COOLDOWN": (5.0, [(0, 0.0), (60, 60.0)], [-1, "5", None]),
    "MAX_RESPONSE_BYTES": (32 * 1024 * 1024, [(1, 1)], [0, 1.5, None]),
}


def cases(number: int) -> list[tuple[str, Any]]:
    return [(key, value) for key, row in {**OF_THE_APP, **OF_AN_UPSTREAM}.items() for value in row[number]]


def value_of(key: str, config: Config) -> Any:
    return getattr(config if key in OF_THE_APP else config.upstreams["default"], key.lower())


@pytest.mark.parametrize("key", [*OF_THE_APP, *OF_AN_UPSTREAM])
def test_every_key_has_a_default(key: str):
    default = {**OF_THE_APP, **OF_AN_UPSTREAM}[key][0]
    found = value_of(key, read(UPSTREAM_URL=CRM))
    assert (found, type(found)) == (default, type(default))


@pytest.mark.parametrize(("key", "pair"), cases(1))
def test_what_a_key_takes(key: str, pair: tuple[Any, Any]):
    given, expected = pair
    found = value_of(key, read(UPSTREAM_URL=CRM, **{key: given}))
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(("key", "value"), cases(2))
def test_a_wrong_value_is_refused_with_the_key_what_it_got_and_what_it_takes(key: str, value: Any):
    message = refusal(UPSTREAM_URL=CRM, **{key: value})
    assert message.startswith(f"DUALSTORAGE_{key} is {value!r}; it takes ")


def test_the_cases_name_every_key_there_is():
    named = {key.lower() for key in (*OF_THE_APP, *OF_AN_UPSTREAM)}
    assert named | {"upstreams", "database_url", "name", "url"} == {
        *Config.__dataclass_fields__,
        *UpstreamConfig.__dataclass_fields__,
    }


# --- the upstream's URL --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "read_as"),
    [
        (CRM, CRM),
        (CRM + "/", CRM),
        ("http://127.0.0.1:5051", "http://127.0.0.1:5051"),
        ("http://[::1]:80/a", "http://[::1]:80/a"),
        ("HTTPS://crm.example", "HTTPS://crm.example"),
        ("https://bücher.example/ü", "https://bücher.example/ü"),
    ],
)
def test_a_url_is_absolute_and_has_no_slash_at_its_end(given: str, read_as: str):
    assert read(UPSTREAM_URL=given).upstreams["default"].url == read_as


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "crm.example/api",
            "/api",
            "ftp://crm.example",
            "https://",
            "https:///api",
            "http://[::1",
            "http://h:port",
        ),
        *("http://h:99999", "http://h:0", "https://h/?x=1", "https://h/#x", "https://h/?", "https://h/#"),
        *(None, 5, b"https://h", ["https://h"]),
    ],
)
def test_what_is_no_base_url_is_refused(url: Any):
    message = refusal(UPSTREAM_URL=url)
    assert message == (
        f"DUALSTORAGE_UPSTREAM_URL is {url!r}; it takes an absolute http or https URL without query or fragment."
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://alice:s3cret@crm.example",
        "https://s3cret@crm.example/api",
        "https://:s3cret@crm.example",
        "ftp://alice:s3cret@h",
        "https://alice:s3cret@h/?x",
        "https://alice:s3cret@[::1",
    ],
)
def test_a_credential_in_a_url_is_refused_and_not_shown(url: str):
    message = refusal(UPSTREAM_URL=url)
    assert "DUALSTORAGE_UPSTREAM_URL holds a credential" in message
    assert "upstream_auth" in message
    assert "s3cret" not in message


def test_without_a_url_there_is_no_upstream():
    """Whether one is needed depends on what is registered."""
    assert dict(read().upstreams) == {}


# --- more upstreams ------------------------------------------------------------------------------------------


def test_an_upstream_takes_its_own_options_then_the_apps_then_the_defaults():
    config = read(
        UPSTREAM_URL=CRM,
        TIMEOUT=(2, 4),
        HONOURS_KEYS=True,
        BREAKER_COOLDOWN=9,
        UPSTREAMS={"billing": {"url": "https://billing.example/", "timeout": 7, "honours_keys": 60}},
    )
    assert sorted(config.upstreams) == ["billing", "default"]
    assert config.upstreams["billing"] == UpstreamConfig(
        "billing", "https://billing.example", timeout=(7.0, 7.0), honours_keys=60.0, breaker_cooldown=9.0
    )
    assert config.upstreams["default"] == UpstreamConfig(
        "default", CRM, timeout=(2.0, 4.0), honours_keys=True, breaker_cooldown=9.0
    )


@pytest.mark.parametrize("key", OF_AN_UPSTREAM)
def test_every_key_of_an_upstream_is_an_option_of_one(key: str):
    default, accepted, refused = OF_AN_UPSTREAM[key]
    for given, expected in accepted:
        options = {"url": CRM, key.lower(): given}
        assert getattr(read(UPSTREAMS={"billing": options}).upstreams["billing"], key.lower()) == expected
    for value in refused:
        message = refusal(UPSTREAMS={"billing": {"url": CRM, key.lower(): value}})
        assert message.startswith(f"DUALSTORAGE_UPSTREAMS['billing']['{key.lower()}'] is {value!r}; it takes ")
    assert getattr(read(UPSTREAMS={"billing": {"url": CRM}}).upstreams["billing"], key.lower()) == default


@pytest.mark.parametrize("upstreams", [None, [], "billing", {"billing": CRM}, {"": {"url": CRM}}, {5: {"url": CRM}}])
def test_upstreams_are_dicts_by_name(upstreams: Any):
    assert refusal(UPSTREAMS=upstreams).startswith(f"DUALSTORAGE_UPSTREAMS is {upstreams!r}; it takes a dict")


def test_an_upstream_needs_a_url():
    assert "DUALSTORAGE_UPSTREAMS['billing'] has no 'url'" in refusal(UPSTREAMS={"billing": {"timeout": 5}})
    assert "DUALSTORAGE_UPSTREAMS['billing']['url'] is 'x'" in refusal(UPSTREAMS={"billing": {"url": "x"}})
    message = refusal(UPSTREAMS={"billing": {"url": "https://a:s3cret@h"}})
    assert "DUALSTORAGE_UPSTREAMS['billing']['url'] holds a credential" in message
    assert "s3cret" not in message


def test_the_default_upstream_has_a_key_of_its_own():
    message = refusal(UPSTREAMS={"default": {"url": CRM}})
    assert "names 'default': that one is DUALSTORAGE_UPSTREAM_URL" in message


# --- the database --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["/srv/app/instance", "/srv/what? #1/100%25/ü @:/instance"])
def test_the_outbox_is_a_file_in_the_instance_folder(folder: str):
    url = make_url(read_config({"DUALSTORAGE_UPSTREAM_URL": CRM}, folder).database_url)
    assert (url.get_backend_name(), url.database) == ("sqlite", f"{folder}/dualstorage.sqlite3")


@pytest.mark.parametrize(
    ("given", "read_as"),
    [
        ("sqlite:////var/lib/app.db", "sqlite+pysqlite:////var/lib/app.db"),
        ("sqlite+pysqlite:////x.db", "sqlite+pysqlite:////x.db"),
        ("postgresql://u:p@h/db", "postgresql+psycopg://u:p@h/db"),
        (
            "postgresql+psycopg://u:p%40@h:5432/db?sslmode=require",
            "postgresql+psycopg://u:p%40@h:5432/db?sslmode=require",
        ),
        ("mysql://u@h/db", "mysql+pymysql://u@h/db"),
        ("mariadb://u@h/db", "mariadb+pymysql://u@h/db"),
        (URL.create("postgresql", "u", "p/@", "h", database="db"), "postgresql+psycopg://u:p%2F%40@h/db"),
    ],
)
def test_a_database_url_is_read_with_the_driver_that_the_extras_bring(given: Any, read_as: str):
    assert read(UPSTREAM_URL=CRM, DATABASE_URL=given).database_url == read_as


@pytest.mark.parametrize("url", [None, 5, "", "x", "dualstorage.db", "postgresql://u:s3cret@h:port/db"])
def test_what_is_no_database_url_is_refused_and_not_shown(url: Any):
    message = refusal(DATABASE_URL=url)
    assert message.startswith("DUALSTORAGE_DATABASE_URL is no database URL; it takes an SQLAlchemy URL of SQLite")
    assert "s3cret" not in message


@pytest.mark.parametrize("backend", ["oracle", "mssql+pyodbc", "nosuch"])
def test_another_database_is_refused(backend: str):
    message = refusal(DATABASE_URL=f"{backend}://u:s3cret@h/db")
    assert message.startswith(f"DUALSTORAGE_DATABASE_URL names '{backend.partition('+')[0]}'; it takes")
    assert "s3cret" not in message


@pytest.mark.parametrize(
    ("url", "driver", "takes"),
    [
        ("postgresql+psycopg2://h/db", "psycopg2", "postgresql+psycopg://"),
        ("postgresql+asyncpg://h/db", "asyncpg", "postgresql+psycopg://"),
        ("mysql+mysqldb://h/db", "mysqldb", "mysql+pymysql://"),
        ("mariadb+mariadbconnector://h/db", "mariadbconnector", "mariadb+pymysql://"),
        ("sqlite+aiosqlite:///x.db", "aiosqlite", "sqlite+pysqlite://"),
    ],
)
def test_another_driver_is_refused_with_the_one_it_takes(url: str, driver: str, takes: str):
    message = refusal(DATABASE_URL=url)
    assert f"DUALSTORAGE_DATABASE_URL names the driver '{driver}'; it takes {takes}" in message


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"]
)
def test_a_database_in_memory_would_lose_accepted_writes(url: str):
    message = refusal(DATABASE_URL=url)
    assert "DUALSTORAGE_DATABASE_URL" in message
    assert "in memory would lose accepted writes" in message


# --- keys that are none --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("UPSTREAM", "UPSTREAMS"),
        ("UPSTREAM_URI", "UPSTREAM_URL"),
        ("TIMEOUTS", "TIMEOUT"),
        ("HONORS_KEYS", "HONOURS_KEYS"),
        ("OFFLINE_STATUS_CODE", "OFFLINE_STATUS_CODES"),
        ("STRICT_COLLECTION", "STRICT_COLLECTIONS"),
        ("max_age", None),
        ("XYZZY", None),
        ("", None),
    ],
)
def test_an_unknown_key_is_refused_with_the_one_that_was_meant(key: str, meant: str | None):
    message = refusal(**{key: 1})
    assert message.startswith(f"DUALSTORAGE_{key} is no setting of flask_dualstorage.")
    assert message.endswith(f"Did you mean DUALSTORAGE_{meant}?" if meant else "flask_dualstorage.")


@pytest.mark.parametrize(
    ("option", "meant"),
    [("timout", "timeout"), ("URL", None), ("honors_keys", "honours_keys"), ("name", None), (5, None)],
)
def test_an_unknown_option_of_an_upstream_is_refused_with_the_one_that_was_meant(option: Any, meant: str | None):
    message = refusal(UPSTREAMS={"billing": {"url": CRM, option: 1}})
    assert message.startswith(f"DUALSTORAGE_UPSTREAMS['billing'][{option!r}] is no setting")
    assert message.endswith(f"Did you mean {meant}?" if meant else "flask_dualstorage.")


def test_keys_of_others_are_not_ours():
    read_config({"DUALSTORAGE_UPSTREAM_URL": CRM, "SECRET_KEY": "x", "dualstorage_timeout": 1, "CACHE_TYPE": 5}, "/x")


# --- read once -----------------------------------------------------------------------------------------------


def test_what_was_read_is_frozen():
    config = read(UPSTREAM_URL=CRM)
    with pytest.raises(FrozenInstanceError):
        config.max_age = 5.0  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        config.upstreams["default"].url = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.upstreams["other"] = config.upstreams["default"]  # type: ignore[index]


def test_later_changes_of_what_was_given_change_nothing():
    codes, upstreams = [503], {"billing": {"url": CRM}}
    settings = {"DUALSTORAGE_OFFLINE_STATUS_CODES": codes, "DUALSTORAGE_UPSTREAMS": upstreams}
    config = read_config(settings, "/x")
    codes.append(500)
    upstreams["billing"]["url"] = "https://other.example"
    settings["DUALSTORAGE_MAX_AGE"] = 5
    assert config.upstreams["billing"].url == CRM
    assert config.upstreams["billing"].offline_status_codes == {503}
    assert config.max_age == 0.0
