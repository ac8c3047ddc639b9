"""The Jinja global ``dualstorage``: what any template of the app, and an imported macro, may ask."""

from __future__ import annotations

from typing import Any

from flask import current_app, request, url_for
from werkzeug.routing import BuildError

from ..tokens import make_nonce
from .inputs import text_of
from .texts import text, texts

_SEEN = "dualstorage.status"


class TemplateGlobal:
    """``{{ dualstorage.status() }}`` and ``{{ dualstorage.nonce() }}``; the app is found at each call."""

    def status(self) -> Any:
        """The current owner's ``Status``, worked out once a request however many badges a page shows."""
        storage = current_app.extensions["dualstorage"]
        # In the WSGI environment and not in ``g``: ``g`` outlives a request where a test or a shell holds an app
        # context open. By owner: a log-in view changes the owner half-way, and must not show the first one's figures.
        seen = request.environ.setdefault(_SEEN, {})
        key = (id(storage), storage.owner)
        if key not in seen:
            seen[key] = storage.status()
        return seen[key]

    def typed(self) -> Any:
        """What was typed for the write that this request names, for the app's own form; see ``ds.typed``."""
        return current_app.extensions["dualstorage"].typed()

    def text(self, message: str, **values: Any) -> str:
        """``message`` in the reader's language, where the app uses Flask-Babel; ``%(name)s`` is filled in."""
        return text(message, **values)

    def texts(self, singular: str, plural: str, number: int, **values: Any) -> str:
        """The one of both that fits ``number``, in the reader's language."""
        return texts(singular, plural, number, **values)

    def json(self, value: Any) -> str:
        """A value of a record as JSON, for reading."""
        return text_of(value)

    def nonce(self) -> str:
        """A new nonce for one form; ``nonce_field()`` puts it in a hidden field."""
        return make_nonce(current_app)

    def page(self) -> str | None:
        """The URL of the owner's pending changes, or None where the app left the blueprint off."""
        try:
            return url_for("dualstorage.pending")
        except BuildError:
            return None
