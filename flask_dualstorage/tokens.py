"""Signed tokens (itsdangerous): form nonces, which make a form that is sent twice one write."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from itsdangerous import BadData, TimestampSigner, URLSafeTimedSerializer

from .errors import ConfigurationError, ValidationFailed

if TYPE_CHECKING:
    from flask import Flask

#: How long a form may lie open before its nonce is refused, in seconds.
NONCE_LIFETIME = 12 * 60 * 60

#: Seconds since 1970; injectable, so that a test need not wait for a form to expire.
Clock = Callable[[], float]

_SALT = "flask_dualstorage.nonce"

_EXPIRED = "This form has expired: nothing was saved yet. Your input is kept, send it again."
_FORGED = "This form could not be recognised: nothing was saved yet. Your input is kept, send it again."


class _Signer(TimestampSigner):
    """A timestamp signer that reads the clock that it is given."""

    def __init__(self, *args: Any, clock: Clock, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clock = clock

    def get_timestamp(self) -> int:
        return int(self._clock())


def make_nonce(app: Flask, clock: Clock = time.time) -> str:
    """A new nonce for one form, signed with the app's ``SECRET_KEY`` and safe in HTML and URLs.

    Raises ``ConfigurationError`` where the app has no ``SECRET_KEY``.
    """
    return str(_serializer(app, clock).dumps(secrets.token_hex(16)))


def check_nonce(app: Flask, nonce: str, max_age: float = NONCE_LIFETIME, clock: Clock = time.time) -> str:
    """The SHA-256 (hexadecimal) under which the outbox knows ``nonce``, which ``make_nonce`` made.

    Raises ``ValidationFailed`` with ``errors["nonce"]`` where it is forged or older than ``max_age`` seconds, and
    ``ConfigurationError`` where the app has no ``SECRET_KEY``.
    """
    try:
        value, made = _serializer(app, clock).loads(nonce, return_timestamp=True)
    except (BadData, TypeError, UnicodeError):  # the last two: JSON holds numbers and lone surrogates
        raise ValidationFailed({"nonce": [_FORGED]}) from None
    # Not itsdangerous' own max_age: it also refuses what was made "in the future", which is how a form
    # looks when the host that made it has a clock a second ahead of ours.
    if clock() - made.timestamp() > max_age:
        raise ValidationFailed({"nonce": [_EXPIRED]})
    # The value, not the token: base64 spells one signature in several ways.
    return hashlib.sha256(value.encode()).hexdigest()


def _serializer(app: Flask, clock: Clock) -> URLSafeTimedSerializer:
    if not app.secret_key:
        raise ConfigurationError(
            "Form nonces are signed, and this app has no SECRET_KEY: set app.config['SECRET_KEY'] "
            "to a long random value, the same in every worker."
        )
    keys = [*(app.config.get("SECRET_KEY_FALLBACKS") or ()), app.secret_key]  # itsdangerous signs with the last
    return URLSafeTimedSerializer(
        keys, salt=_SALT, signer=_Signer, signer_kwargs={"clock": clock, "digest_method": hashlib.sha256}
    )
