"""The words of our pages in the reader's language: through Flask-Babel where the app uses it, else as they are."""

from __future__ import annotations

import sys
from typing import Any

from flask import current_app, has_app_context


def text(message: str, **values: Any) -> str:
    """Give ``message`` in the reader's language, with ``%(name)s`` filled from ``values``."""
    babel = _babel()
    if babel is not None and message:
        return str(babel.gettext(message, **values))
    return message % values if values else message


def texts(singular: str, plural: str, number: int, **values: Any) -> str:
    """Give the form of a message that fits ``number``, which ``%(num)s`` stands for."""
    babel = _babel()
    if babel is not None:
        return str(babel.ngettext(singular, plural, number, **values))
    return (singular if number == 1 else plural) % {"num": number, **values}


def _babel() -> Any:
    """Flask-Babel, where it is set up on this app; never imported for an app that does without."""
    babel = sys.modules.get("flask_babel")
    return babel if babel is not None and has_app_context() and "babel" in current_app.extensions else None
