"""A sentence for the person who clicked, to be shown on the next page."""

from __future__ import annotations

from flask import current_app, flash, session


def tell(sentence: str) -> None:
    """Flash ``sentence``. An app without a SECRET_KEY (its users come from a header, say) has nothing to flash into."""
    if not current_app.session_interface.is_null_session(session):
        flash(sentence)
