"""A stand-in for the extension: what web and cli ask of ``app.extensions["dualstorage"]``, answered by the test."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from types import SimpleNamespace
from typing import Any

from flask import Flask

from flask_dualstorage.user_storage import Registry
from flask_dualstorage.web.blueprint import create_blueprint
from flask_dualstorage.web.globals import TemplateGlobal


@dataclass(frozen=True)
class Shape:
    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Status(Shape):
    online: bool | None = None
    pending: int = 0
    in_doubt: int = 0
    conflict: int = 0
    rejected: int = 0
    oldest: str | None = None
    stores: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PendingWrite(Shape):
    id: str = "w1"
    store: str = "/people"
    record_id: str | int = 7
    kind: str = "update"
    state: str = "queued"
    attempts: int = 0
    not_before: str | None = None
    created_at: str = "2026-01-02T03:04:05Z"
    reason: str | None = None
    waits_for: list[str] = field(default_factory=list)
    attributes: dict[str, Any] | None = field(default_factory=lambda: {"name": "Turing", "age": 41})
    base: dict[str, Any] | None = field(default_factory=lambda: {"name": "Turing", "age": 40})
    theirs: dict[str, Any] | None = None
    problem: dict[str, Any] | None = None
    settled_at: str | None = None
    unauthorized: bool = False
    conflicts: list[Any] = field(default_factory=list)
    collection: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    doubts: int = 0


@dataclass(frozen=True)
class SyncReport(Shape):
    applied: int = 0
    queued: int = 0
    in_doubt: int = 0
    conflict: int = 0
    rejected: int = 0
    remaining: int = 0
    online: bool = True
    retry_after: float | None = None
    writes: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class FakeUser:
    """One owner's storage; ``calls`` tells what was asked of it. An exception in the place of an answer is raised."""

    owner: str
    writes: list[PendingWrite] = field(default_factory=list)
    figures: Status | Exception = field(default_factory=Status)
    report: SyncReport | Exception = field(default_factory=SyncReport)
    calls: list[Any] = field(default_factory=list)

    def status(self) -> Status:
        self.calls.append("status")
        return _answer(self.figures)

    def pending(self) -> list[PendingWrite]:
        return self.writes

    def write(self, write_id: str) -> PendingWrite | None:
        return None

    def typed(self) -> None:
        return None

    def sync(
        self, collections: list[str] | None = None, budget: float | None = None, *, explicit: bool = True
    ) -> SyncReport:
        self.calls.append((collections, budget))
        self.explicit = explicit
        return _answer(self.report)


class FakeStorage:
    """The app-bound object: every user by name, and the current one."""

    def __init__(self, *users: FakeUser) -> None:
        self.users = {user.owner: user for user in users}
        self.current = users[0] if users else FakeUser("user:alice")
        self.config = SimpleNamespace(sync_budget=10.0)
        self.registry = Registry()
        self.due: list[str] | None = None
        self.made_tables = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.current, name)

    def for_user(self, owner: str) -> FakeUser:
        return self.users[owner if ":" in owner else f"user:{owner}"]

    def owners(self, due: bool = False) -> list[str]:
        if due and self.due is not None:
            return self.due
        return [owner for owner, user in self.users.items() if user.writes]

    def init_db(self) -> None:
        self.made_tables = True


def _answer(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


def make_app(storage: FakeStorage | None, url_prefix: str | None = "/dualstorage", **config: Any) -> Flask:
    """An app as ``init_app`` would leave it, around a fake storage."""
    app = Flask("app")
    app.config.update({"SECRET_KEY": "for tests", "TESTING": True, **config})
    app.jinja_env.globals["dualstorage"] = TemplateGlobal()
    if storage is not None:
        app.extensions["dualstorage"] = storage
        app.register_blueprint(create_blueprint(url_prefix))
    return app
