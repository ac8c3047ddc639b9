"""``flask dualstorage …``: 0 when all is sent, 1 when writes remain, 2 for misuse."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from flask_dualstorage import cli
from flask_dualstorage.errors import (
    CollectionUnknown,
    ConfigurationError,
    NoCredentials,
    OutboxUnavailable,
    ValidationFailed,
)
from tests.unit.fakes import FakeStorage, FakeUser, PendingWrite, Status, SyncReport, make_app


@pytest.fixture
def alice() -> FakeUser:
    return FakeUser("user:alice", [PendingWrite()], Status(pending=1, oldest="2026-01-02T03:04:05Z"))


@pytest.fixture
def bob() -> FakeUser:
    return FakeUser("user:bob", [PendingWrite("w2"), PendingWrite("w3")], Status(pending=2))


@pytest.fixture
def storage(alice, bob) -> FakeStorage:
    return FakeStorage(alice, bob)


@pytest.fixture
def run(storage):
    """Run a command as `flask dualstorage` would."""
    app = make_app(storage)
    app.cli.add_command(cli.dualstorage)
    return lambda *arguments: app.test_cli_runner().invoke(args=["dualstorage", *arguments])


def lines(result) -> list[list[str]]:
    return [line.split() for line in result.stdout.splitlines()]


class TestStatus:
    def test_of_one_user(self, run, alice):
        alice.figures = Status(True, 3, 1, 0, 0, "2026-01-02T03:04:05Z", {"/people": 2, "/notes": 1})
        result = run("status", "--user", "alice")
        assert result.stdout.splitlines() == [
            "pending    3",
            "in doubt   1",
            "conflict   0",
            "rejected   0",
            "oldest     2026-01-02T03:04:05Z",
            "upstream   online",
            "  /notes   1",
            "  /people  2",
        ]
        assert result.exit_code == 1

    def test_of_one_user_as_json_is_the_status_of_the_http_interface(self, run, alice):
        alice.figures = Status(False, 3, 1, 0, 0, "2026-01-02T03:04:05Z", {"/people": 3})
        assert json.loads(run("status", "--user", "alice", "--json").stdout) == alice.figures.to_dict()

    def test_of_all_is_the_sum(self, run, alice, bob):
        alice.figures = Status(True, 3, 1, 1, 0, "2026-01-02T03:04:05Z", {"/people": 2, "/notes": 1})
        bob.figures = Status(None, 2, 0, 0, 2, "2026-01-01T00:00:00Z", {"/people": 2})
        assert json.loads(run("status", "--json").stdout) == {
            "online": True,
            "pending": 5,
            "in_doubt": 1,
            "conflict": 1,
            "rejected": 2,
            "oldest": "2026-01-01T00:00:00Z",
            "stores": {"/people": 4, "/notes": 1},
        }

    @pytest.mark.parametrize(
        ("one", "other", "both"),
        [(None, None, None), (True, None, True), (None, False, False), (True, False, False), (False, True, False)],
    )
    def test_out_of_reach_for_one_is_out_of_reach(self, run, alice, bob, one, other, both):
        alice.figures, bob.figures = Status(one), Status(other)
        assert json.loads(run("status", "--json").stdout)["online"] is both

    def test_nothing_waits(self, run, alice, bob):
        alice.writes, bob.writes = [], []
        result = run("status")
        assert lines(result) == [
            ["pending", "0"],
            ["in", "doubt", "0"],
            ["conflict", "0"],
            ["rejected", "0"],
            ["oldest", "-"],
            ["upstream", "not", "known"],
        ]
        assert result.exit_code == 0


class TestPending:
    def test_a_line_for_each_write_of_each_owner(self, run):
        result = run("pending")
        assert result.stdout.splitlines() == [
            "OWNER       ID  SINCE                 KIND    STORE    RECORD  STATE   WHY",
            "user:alice  w1  2026-01-02T03:04:05Z  update  /people  7       queued  -",
            "user:bob    w2  2026-01-02T03:04:05Z  update  /people  7       queued  -",
            "user:bob    w3  2026-01-02T03:04:05Z  update  /people  7       queued  -",
        ]
        assert result.exit_code == 1

    def test_of_one_user(self, run):
        assert [row[1] for row in lines(run("pending", "--user", "bob"))] == ["ID", "w2", "w3"]

    def test_as_json_each_write_says_whose_it_is(self, run):
        writes = json.loads(run("pending", "--json").stdout)["writes"]
        assert [write.pop("owner") for write in writes] == ["user:alice", "user:bob", "user:bob"]
        assert writes[0] == PendingWrite().to_dict()

    @pytest.mark.parametrize(("flags", "said"), [([], "Nothing waits."), (["--json"], '{"writes": []}')])
    def test_nothing_waits(self, run, alice, bob, flags, said):
        alice.writes, bob.writes = [], []
        result = run("pending", *flags)
        assert (result.stdout.strip(), result.exit_code) == (said, 0)

    def test_what_an_upstream_wrote_can_not_steer_the_terminal(self, run, alice):
        alice.writes = [PendingWrite(reason="no\x1b[2J\r\nuser:mallory \u202e", store="/\x07")]
        printed = run("pending", "--user", "alice").stdout
        assert len(printed.splitlines()) == 2
        assert printed.replace("\n", "").isprintable()


class TestSync:
    def test_of_one_user(self, run, alice, bob):
        alice.report = SyncReport(applied=3)
        result = run("sync", "--user", "alice")
        assert lines(result) == [
            ["applied", "3"],
            ["queued", "0"],
            ["in", "doubt", "0"],
            ["conflict", "0"],
            ["rejected", "0"],
            ["remaining", "0"],
            ["upstream", "online"],
        ]
        assert (result.exit_code, result.stderr) == (0, "")
        assert (alice.calls, bob.calls) == ([(None, None)], [])

    def test_what_remains_is_a_1(self, run, alice):
        alice.report = SyncReport(online=False, queued=2, remaining=2)
        result = run("sync", "--user", "alice")
        assert lines(result)[-2:] == [["remaining", "2"], ["upstream", "out", "of", "reach"]]
        assert result.exit_code == 1

    def test_collections_and_a_budget_are_passed_on(self, run, alice):
        run("sync", "--user", "alice", "--collection", "people", "--collection", "notes", "--budget", "2.5")
        [(collections, budget)] = alice.calls
        assert collections == ["people", "notes"]
        assert 0 < budget <= 2.5

    def test_all_is_every_owner_with_due_writes(self, run, storage, alice, bob):
        alice.report, bob.report = SyncReport(applied=1), SyncReport(applied=2)
        alice.writes, bob.writes = [], []
        storage.due = ["user:alice", "user:bob"]
        result = run("sync", "--all")
        assert lines(result)[0] == ["applied", "3"]
        assert (result.exit_code, result.stderr) == (0, "")

    def test_who_is_not_due_remains(self, run, storage, bob):
        storage.due = ["user:alice"]
        result = run("sync", "--all")
        assert result.stderr == "Not tried, since not due yet or beyond the budget: 1 of 2 owners.\n"
        assert (result.exit_code, bob.calls) == (1, [])

    def test_all_share_one_budget(self, run, alice, bob, monkeypatch):
        clock = iter([100.0, 101.0, 106.0])
        monkeypatch.setattr(cli, "monotonic", lambda: next(clock))
        result = run("sync", "--all", "--budget", "5")
        assert (alice.calls, bob.calls) == ([(None, 4.0)], [])
        assert "1 of 2 owners" in result.stderr
        assert result.exit_code == 1

    def test_one_that_fails_does_not_stop_the_others(self, run, alice, bob):
        alice.report, bob.report = NoCredentials("Log in\nagain."), SyncReport(applied=2)
        result = run("sync", "--all")
        assert result.stderr == "user:alice: Log in again.\n"
        assert lines(result)[0] == ["applied", "2"]
        assert result.exit_code == 1

    @pytest.mark.parametrize("arguments", [[], ["--user", "alice", "--all"]])
    def test_it_wants_to_know_whose(self, run, arguments):
        result = run("sync", *arguments)
        assert (result.exit_code, result.stderr) == (2, "Error: Say whose writes to send: --user U, or --all.\n")

    @pytest.mark.parametrize("budget", ["0", "-1", "soon"])
    def test_a_budget_is_a_time(self, run, alice, budget):
        assert run("sync", "--user", "alice", "--budget", budget).exit_code == 2
        assert alice.calls == []

    def test_progress_is_shown_on_a_terminal(self):
        code = """
from flask.cli import ScriptInfo
from flask_dualstorage import cli
from tests.unit.fakes import FakeStorage, FakeUser, PendingWrite, make_app
app = make_app(FakeStorage(*(FakeUser(f"user:{n}", [PendingWrite()]) for n in range(3))))
app.cli.add_command(cli.dualstorage)
app.cli.main(["dualstorage", "sync", "--all"], obj=ScriptInfo(create_app=lambda: app))
"""
        terminal, end = pty.openpty()
        root = Path(cli.__file__).parents[1]
        result = subprocess.run([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, stderr=end, check=False)
        shown = os.read(terminal, 10_000).decode()
        os.close(end)
        os.close(terminal)
        assert "Sending" in shown
        assert "3/3" in shown
        assert result.returncode == 0, shown
        assert b"Sending" not in result.stdout


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("DUALSTORAGE_X is 7."), 2),
        (CollectionUnknown("There is no collection 'x'."), 2),
        (ValidationFailed({"owner": ["is empty"]}), 2),
        (OutboxUnavailable("The disk\nis full."), 1),
    ],
)
@pytest.mark.parametrize("command", ["status", "sync"])
def test_an_error_is_one_line_and_an_exit_code(run, alice, command, error, code):
    alice.figures = alice.report = error
    result = run(command, "--user", "alice")
    assert result.exit_code == code
    [line] = result.stderr.splitlines()
    assert str(error).replace("\n", " ") in line


def test_init_db(run, storage):
    result = run("init-db")
    assert storage.made_tables
    assert (result.exit_code, result.stdout) == (0, "The outbox is ready.\n")


@pytest.mark.parametrize("command", [["status"], ["pending"], ["sync", "--all"], ["init-db"]])
def test_an_app_without_the_extension_is_told_so(command):
    app = make_app(None)
    app.cli.add_command(cli.dualstorage)
    result = app.test_cli_runner().invoke(args=["dualstorage", *command])
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: The app 'app' has no dualstorage: call DualStorage().init_app(app) where it is made.\n"
    )
