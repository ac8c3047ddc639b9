"""The line to an upstream that others wrote: a port of ours that leads to a port of theirs, with a plug to pull."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Lock, Thread

from example_app.ports import HOST

_PIECE = 64 * 1024


class Line:
    """Leads from ``port`` to ``target``, both on this machine, while it is plugged in.

    While ``loses_answers`` is set, what the upstream says is dropped with the connection: it was asked, and did what it
    was asked, but nobody hears of that.
    """

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self.target = target
        self.loses_answers = False
        self._lock = Lock()
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()

    @property
    def plugged_in(self) -> bool:
        """Whether the port listens."""
        return self._listener is not None

    def push(self) -> None:
        """Plug in. Raises ``OSError`` where another program has the port."""
        with self._lock:
            if self._listener is None:
                self._listener = socket.create_server((HOST, self.port), backlog=100)
                Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def pull(self) -> None:
        """Pull the plug; when this returns, the port refuses, and no connection is left."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes up the thread that accepts
            listener.close()
        for connection in list(self._open):
            self._hang_up(connection)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:  # the plug was pulled
                return
            try:
                callee = socket.create_connection((HOST, self.target))
            except OSError:  # the upstream is gone: so is the caller's connection
                caller.close()
                continue
            self._open |= {caller, callee}
            if self._listener is not listener:  # pulled meanwhile
                self._hang_up(caller, callee)
            Thread(target=self._pass_on, args=[caller, callee], daemon=True).start()
            Thread(target=self._pass_on, args=[callee, caller, True], daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, are_answers: bool = False) -> None:
        with suppress(OSError):
            while (piece := source.recv(_PIECE)) and not (are_answers and self.loses_answers):
                sink.sendall(piece)
        self._hang_up(source, sink)

    def _hang_up(self, *ends: socket.socket) -> None:
        for end in ends:
            self._open.discard(end)
            with suppress(OSError):  # hung up already
                end.shutdown(socket.SHUT_RDWR)
            end.close()
