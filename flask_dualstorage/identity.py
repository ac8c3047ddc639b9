"""Who the owner is: whose storage a call means. Found on the server, never taken from the request."""

from __future__ import annotations

import importlib
import secrets
import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask import has_request_context, session
from flask.globals import request_ctx

from .errors import ConfigurationError, ValidationFailed

if TYPE_CHECKING:
    from flask import Flask

#: What an app's ``user_loader`` returns: the current user's id, or None for an anonymous visitor.
UserId = str | int | None
#: ``() -> str | int | None``.
UserLoader = Callable[[], UserId]

#: Where the signed Flask session keeps an anonymous visitor's random id.
SESSION_KEY = "_dualstorage_anonymous"
#: The longest owner, with its prefix.
MAX_LENGTH = 200

#: Who owns the copies of collections with ``scope = "app"``; no user's or visitor's name can be this one.
APP = "app:"

_USER = "user:"
_ANONYMOUS = "anon:"


def normalise(owner: str) -> str:
    """``owner`` as it is stored: ``user:…`` and ``anon:…`` stay, a bare name becomes ``user:<name>``.

    Raises ``ValidationFailed`` with ``errors["owner"]`` where it is no text, empty, longer than ``MAX_LENGTH``
    with its prefix, or holds control characters or lone surrogates. Not a ``ConfigurationError``: an owner is data
    that comes from log-ins and command lines, not something an app declares.
    """
    if not isinstance(owner, str):
        raise _refused(f"an owner is text, not {type(owner).__name__}: {owner!r}")
    if not owner.startswith((_USER, _ANONYMOUS)):
        owner = _USER + owner
    return _checked(owner)


def current_owner(app: Flask, user_loader: UserLoader | None) -> str:
    """The owner of the request that ``app`` is answering.

    ``user_loader`` says who it is, or Flask-Login where there is none and the app uses it; None means an anonymous
    visitor, who gets a random id in the signed session.

    Raises ``RuntimeError`` outside a request of this app, ``ConfigurationError`` where an anonymous visitor can not
    be remembered or ``user_loader`` returns something else than an id, ``ValidationFailed`` for an id that
    ``normalise`` would refuse.
    """
    # Of *this* app: another app's request would bring that app's user, and its session.
    if not (has_request_context() and request_ctx.app is app):
        raise RuntimeError(
            f"There is no current user outside a request of the app {app.name!r}. In a job, a script or a shell, "
            "name the owner: app.extensions['dualstorage'].for_user('alice')."
        )
    user = user_loader() if user_loader is not None else _flask_login_user(app)
    if user is None:
        return _anonymous(app)
    # Always prefixed: a user whose name is "anon:x" or "user:x" must not reach somebody else's storage.
    return _checked(_USER + _as_text(user))


def _checked(owner: str) -> str:
    if owner in (_USER, _ANONYMOUS):
        raise _refused("an owner has a name, and this one is empty")
    if len(owner) > MAX_LENGTH:
        raise _refused(f"an owner has at most {MAX_LENGTH} characters with its prefix, and this one has {len(owner)}")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in owner):
        raise _refused(f"an owner holds no control characters or lone surrogates: {owner!a}")
    return owner


def _refused(sentence: str) -> ValidationFailed:
    return ValidationFailed({"owner": [sentence]})


def _as_text(user: UserId) -> str:
    # A User object would be accepted as "<User object at 0x7f…>": another storage at every request.
    if isinstance(user, bool) or not isinstance(user, str | int):
        raise ConfigurationError(
            f"user_loader must return a str, an int or None, and returned {type(user).__name__}: "
            "return the user's id, for example str(user.id)."
        )
    return str(user)


def _flask_login_user(app: Flask) -> UserId:
    """The id of Flask-Login's current user. Flask-Login is imported only where the app uses it."""
    if not hasattr(app, "login_manager"):
        return None
    user: Any = importlib.import_module("flask_login").current_user
    user_id: UserId = user.get_id() if user.is_authenticated else None
    return user_id


def _anonymous(app: Flask) -> str:
    if app.session_interface.is_null_session(session):
        raise ConfigurationError(
            "An anonymous visitor is remembered in the signed session, and this app has no SECRET_KEY: set "
            "app.config['SECRET_KEY'] to a long random value, or register a user_loader that never returns None."
        )
    if SESSION_KEY not in session:
        session[SESSION_KEY] = secrets.token_hex(16)
    return f"{_ANONYMOUS}{session[SESSION_KEY]}"


def give_up_anonymous(owner: str) -> None:
    """Take the anonymous ``owner`` out of this browser's session, if it is the one there; nothing outside a request."""
    if has_request_context() and session.get(SESSION_KEY) is not None and f"anon:{session[SESSION_KEY]}" == owner:
        del session[SESSION_KEY]
