"""What tests of the whole have in common: an app, a clock to turn, and an upstream with a plug to pull."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flask_dualstorage import DualStorage
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.rest import RestUpstream
from tests.whole import MakeApp, User, bare_environment, clock, make_app, storage_of

__all__ = ["bare_environment", "clock", "make_app", "upstream", "user"]


@pytest.fixture
def upstream() -> Iterator[RestUpstream]:
    """Two people, and whatever is sent to it."""
    people = [{"id": 1, "name": "Ada", "age": 36}, {"id": 2, "name": "Grace", "age": 85}]
    with RestUpstream({"/people": people}) as upstream:
        yield upstream


@pytest.fixture
def user(make_app: MakeApp, upstream: RestUpstream) -> User:
    """Give an owner's storage in an app of its own, in front of ``upstream``."""

    def give(name: str = "alice", dualstorage: DualStorage | None = None, **config: Any) -> UserStorage:
        return storage_of(make_app(dualstorage, **{"url": upstream.url, **config})).for_user(name)

    return give
