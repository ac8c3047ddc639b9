"""The log: what happened, never a body, a credential or a value of a record.

What an app's hook raises may quote any of them in its message; its type, and where it came from, say enough.
"""

from __future__ import annotations

import logging
import traceback
from typing import Any

log = logging.getLogger("flask_dualstorage")


def log_failure(what: str, *names: Any, error: BaseException) -> None:
    """Log that something failed (``what`` with its ``names``, as in logging), with the error's type and its places."""
    places = "".join(traceback.format_tb(error.__traceback__)).rstrip()
    log.error("%s: %s\n%s", what % names, type(error).__name__, places)
