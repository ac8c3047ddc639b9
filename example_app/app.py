"""The example: a directory of people with notes, rendered from a REST API that may be away.

`create_app` makes it. What is special to flask_dualstorage stands in `directory` (collections and forms) and in
`account` (who the user is); `plug` is a toy of this demo.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from flask import Flask, Response, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest, HTTPException

from example_app.account import account
from example_app.directory import directory, dualstorage
from example_app.plug import plug
from example_app.upstreams import DECLARED
from flask_dualstorage import ValidationFailed

#: What lasts from one start to the next (the caches, the outbox, the key of the sessions), unless told otherwise.
INSTANCE = Path(__file__).parents[1] / "instance"


def create_app(config: Mapping[str, Any] | None = None, instance: Path | None = None) -> Flask:
    """Make the app; ``config`` wins over what is set here, ``instance`` is the folder that it keeps its data in."""
    folder = (instance or INSTANCE).absolute()
    app = Flask(__name__, instance_path=str(folder))
    app.config.update(
        DUALSTORAGE_UPSTREAM_URL="http://127.0.0.1:5051",
        # Pages go on showing what others do while changes of one's own wait.
        DUALSTORAGE_WHEN_DIRTY="rebase",
        # The upstream is on this machine, and whoever plugs it in wants to see that at once.
        DUALSTORAGE_BREAKER_COOLDOWN=0.25,
        DUALSTORAGE_STRICT_COLLECTIONS=True,
        # Where the plug of the upstream is; None: there is none to pull.
        UPSTREAM_CONTROL_URL=None,
        # Cookies know no ports: another app on this machine may have a "session" too.
        SESSION_COOKIE_NAME="example_directory",
        SESSION_COOKIE_SAMESITE="Lax",
    )
    app.config.update(DECLARED.config)
    app.config.update(config or {})
    if not app.secret_key:
        app.secret_key = kept_secret(folder / "secret_key")
    dualstorage.init_app(app)
    for blueprint in (directory, account, plug):
        app.register_blueprint(blueprint)
    app.register_error_handler(HTTPException, error_page)
    app.register_error_handler(ValidationFailed, refused_page)
    app.add_template_filter(instant)
    app.after_request(keep_private)
    return app


def kept_secret(file: Path) -> str:
    """The key that signs the sessions, made at the first start: sessions, and so their owners, outlive a restart."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(32))
    return file.read_text()


def error_page(error: HTTPException) -> ResponseReturnValue:
    """Any error as a page of ours, with the headers that it brings (``Retry-After``, say); redirects stay redirects."""
    response = error.get_response()
    if error.response is None:
        response = Response(render_template("error.html", error=error), response.status, response.headers)
        response.content_type = "text/html; charset=utf-8"
    return response


def refused_page(error: ValidationFailed) -> ResponseReturnValue:
    """What can not be stored and came from no form of ours: an address with a nonsense id."""
    return error_page(BadRequest(str(error)))


def instant(value: object) -> str:
    """A time of the upstream's (RFC 3339) as people write it; empty where there is none yet."""
    try:
        return f"{datetime.fromisoformat(str(value)):%d %b %Y, %H:%M} UTC"
    except ValueError:
        return ""


def keep_private(response: Response) -> Response:
    """Pages are of one owner: the next person at this computer must not find them with the Back button."""
    if request.endpoint is None or not request.endpoint.endswith("static"):
        response.headers["Cache-Control"] = "private, no-store"
    return response
