"""Which cache is used: the app's own, the one that was named, or private files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_caching import Cache
from flask_caching.backends import FileSystemCache, SimpleCache

from flask_dualstorage.errors import ConfigurationError
from flask_dualstorage.storage.base import Backend, Bases, find_backend
from flask_dualstorage.types import Envelope


@pytest.fixture
def app() -> Flask:
    return Flask("app")


def a_cache(app: Flask, kind: str = "SimpleCache") -> Cache:
    return Cache(app, config={"CACHE_TYPE": kind, "CACHE_NO_NULL_WARNING": True})


def found(app: Flask, folder: Path, given: Any = None) -> Backend:
    return find_backend(app.extensions.get("cache", {}), given, lambda: folder, timeout=60.0)


def test_the_only_cache_of_the_app_is_used(app: Flask, tmp_path: Path):
    cache = a_cache(app)
    assert found(app, tmp_path) is app.extensions["cache"][cache]
    assert list(tmp_path.iterdir()) == []


def test_several_caches_and_none_named_is_an_error_that_says_how(app: Flask, tmp_path: Path):
    a_cache(app)
    a_cache(app)
    with pytest.raises(ConfigurationError, match=r"several caches.*init_app\(app, cache=…\)"):
        found(app, tmp_path)


def test_the_named_cache_is_used(app: Flask, tmp_path: Path):
    a_cache(app)
    second = a_cache(app)
    a_cache(app)
    assert found(app, tmp_path, second) is app.extensions["cache"][second]


def test_a_named_cache_that_is_not_of_this_app_is_an_error(app: Flask, tmp_path: Path):
    a_cache(app)
    theirs = a_cache(Flask("other"))
    with pytest.raises(ConfigurationError, match=r"not initialised on this app: cache\.init_app\(app\)"):
        found(app, tmp_path, theirs)


def test_without_a_cache_there_are_private_files_of_which_none_is_ever_evicted(app: Flask, tmp_path: Path):
    backend = found(app, tmp_path)
    assert isinstance(backend, FileSystemCache)
    assert backend._threshold == 0
    assert backend.default_timeout == 60
    backend.set("key", b"value", timeout=60)
    [file] = (tmp_path / "dualstorage-cache").iterdir()
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("named", [False, True])
def test_a_null_cache_is_a_warning_and_private_files(
    app: Flask, tmp_path: Path, caplog: pytest.LogCaptureFixture, named: bool
):
    cache = a_cache(app, "NullCache")
    with caplog.at_level(logging.WARNING, "flask_dualstorage"):
        backend = found(app, tmp_path, cache if named else None)
    assert isinstance(backend, FileSystemCache)
    assert "NullCache, which keeps nothing" in caplog.text


@pytest.mark.parametrize("folder", ["/proc", "/dev/null"])
def test_private_files_that_can_not_be_made_are_an_error_that_says_what_to_do(app: Flask, folder: str):
    with pytest.raises(ConfigurationError, match=r"dualstorage-cache can not be made.*Flask-Caching Cache"):
        found(app, Path(folder))


def test_it_is_looked_for_once_and_not_before_it_is_needed(app: Flask, tmp_path: Path):
    asked = []

    def find() -> Backend:
        asked.append("asked")
        return found(app, tmp_path)

    bases = Bases("app", find, 60.0)
    assert asked == []
    a_cache(app)
    bases.put("user:alice", "/people", Envelope([], "", 0, 0.0))
    assert bases.get("user:alice", "/people") is not None
    assert asked == ["asked"]
    assert isinstance(bases.backend, SimpleCache)
