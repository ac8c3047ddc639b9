"""A failing receiver breaks nothing."""

from __future__ import annotations

import logging

import pytest
from flask import Flask

from flask_dualstorage import signals
from flask_dualstorage.signals import emit, write_applied, write_queued

ALL = [getattr(signals, name) for name in signals.__all__ if name != "emit"]


@pytest.fixture
def app() -> Flask:
    return Flask(__name__)


@pytest.mark.parametrize("signal", ALL, ids=lambda signal: signal.name)
def test_each_says_when_it_is_sent_and_with_what(signal):
    assert "Data: " in signal.__doc__


def test_a_receiver_gets_the_app_and_the_data(app):
    heard = []

    @write_queued.connect_via(app)
    def hear(sender, **data):
        heard.append((sender, data))

    emit(write_queued, app, owner="user:alice", write=7)
    emit(write_applied, app, owner="user:alice", write=7)
    assert heard == [(app, {"owner": "user:alice", "write": 7})]


def test_another_app_is_not_told(app):
    heard = []

    @write_queued.connect_via(app)
    def hear(sender, **data):
        heard.append(data)

    emit(write_queued, Flask("other"), owner="user:alice")
    assert heard == []


def test_one_that_fails_is_logged_and_the_others_still_run(app, caplog):
    heard = []

    def fail(sender, **data):
        raise ZeroDivisionError("a bug of the app")

    def hear(sender, **data):
        heard.append(data["owner"])

    receivers = [fail, hear, lambda sender, **data: hear(sender, **data), lambda sender: None]
    for receiver in receivers:
        write_queued.connect(receiver, sender=app)
    with caplog.at_level(logging.ERROR, logger="flask_dualstorage"):
        emit(write_queued, app, owner="user:alice")
    assert heard == ["user:alice", "user:alice"]
    assert [record.name for record in caplog.records] == ["flask_dualstorage"] * 2
    assert "ZeroDivisionError" in caplog.text


def test_a_process_that_ends_is_not_held_up(app):
    def leave(sender, **data):
        raise SystemExit(3)

    write_queued.connect(leave, sender=app)
    with pytest.raises(SystemExit):
        emit(write_queued, app)


def test_a_receiver_may_leave_while_it_is_called(app):
    heard = []

    def once(sender, **data):
        heard.append(1)
        write_queued.disconnect(once, sender=app)

    write_queued.connect(once, sender=app)
    emit(write_queued, app)
    emit(write_queued, app)
    assert heard == [1]


def test_muted_it_is_silent(app):
    heard = []

    def hear(sender, **data):
        heard.append(data)

    write_queued.connect(hear, sender=app)
    with write_queued.muted():
        emit(write_queued, app)
    assert heard == []
