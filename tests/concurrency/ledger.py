"""An upstream that keeps books over 200 owners' writes, and does not always answer as it should."""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter, defaultdict
from typing import Any

from tests.upstreams.hostile import Behaviour, HostileUpstream, Line, Received, Then, answer, drop, reset

TIRED_AFTER = 500


class Ledger(HostileUpstream):
    """Honours keys; ``/commands/<n>`` of owner number ``n`` is there from the start. ``lanes`` is what it applied.

    ``wrong`` holds what must never happen: another owner's credential, one key with two contents.
    """

    def __init__(self, seed: int, owners: int) -> None:
        super().__init__(self._handle)
        self.hostile = True
        #: Set whenever it has had so many requests that it wants to be unplugged for a moment.
        self.tired = threading.Event()
        self.lanes: dict[int, list[str]] = defaultdict(list)
        self.wrong: list[str] = []
        self.faults: Counter[str] = Counter()
        self._owner_of = {number: f"user:{number}" for number in range(owners)}
        self._by_key: dict[str, tuple[str, Received, Behaviour]] = {}
        self._numbers = itertools.count(1_000_000)
        self._random = random.Random(seed)
        self._books = threading.Lock()

    def _handle(self, received: Received) -> Behaviour:
        with self._books:
            fault = self._fault(received.method)
            self.faults[fault] += 1
            if self.faults.total() % TIRED_AFTER == 0:
                self.tired.set()
            match fault:
                case "503":
                    return answer(503)
                case "dropped":
                    return drop()
                case "slow":
                    return _slowly(self._apply(received))
                case "applied, dropped":
                    self._apply(received)
                    return drop()
                case "applied, reset":
                    self._apply(received)
                    return reset()
                case "applied, 500":
                    self._apply(received)
                    return answer(500)
            return self._apply(received)

    def _fault(self, method: str) -> str:
        if not self.hostile:
            return "none"
        faults = ["503", "dropped", "slow", "applied, dropped", "applied, reset"]
        # A 500 withdraws a save, and its form is sent again: that of a create is byte for byte the same.
        faults += ["applied, 500"] if method == "POST" else []
        return self._random.choices(["none", *faults], [40, *[1] * len(faults)])[0]

    def _apply(self, received: Received) -> Behaviour:
        owner, key = received.headers["X-Owner"], received.headers["Idempotency-Key"]
        if key in self._by_key:
            whose, first, given = self._by_key[key]
            same = (first.method, first.target, first.body) == (received.method, received.target, received.body)
            if not same or whose != owner:
                self.wrong.append(f"key {key} of {whose}: {_line(first)}; of {owner}: {_line(received)}")
            return given
        given = self._write(received, owner)
        self._by_key[key] = (owner, received, given)
        return given

    def _write(self, received: Received, owner: str) -> Behaviour:
        body: dict[str, Any] = received.json() if received.body else {}
        if received.method == "POST":
            number = next(self._numbers)
            self._owner_of[number] = owner
        else:
            number = int(received.target.rpartition("/")[2])
        token = body.get("token", f"{owner} deletes {number}")
        if self._owner_of.get(number) != owner or not token.startswith(f"{owner} "):
            self.wrong.append(f"{owner} sent {_line(received)}")
        self.lanes[number].append(token)
        if received.method == "DELETE":
            return answer(204)
        return answer(201 if received.method == "POST" else 200, {**body, "id": number})


def _line(received: Received) -> str:
    return f"{received.method} {received.target} {received.body.decode()}"


def _slowly(given: Behaviour) -> Behaviour:
    def behave(line: Line) -> Then:
        line.pause(0.05)
        return given(line)

    return behave
