"""A toy of this demo, and nothing that an app needs: the upstream's plug, to be pulled from the page."""

from __future__ import annotations

from urllib.parse import urlsplit

import requests
from flask import Blueprint, abort, current_app, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

plug = Blueprint("plug", __name__)

MESSAGES = {
    "in": "The plug is in: the directory service is back.",
    "out": "The plug is out: the directory service is gone. Go on, nothing will be lost.",
}


@plug.app_context_processor
def plug_state() -> dict[str, object]:
    """For the layout, which calls it: ``"in"``, ``"out"``, ``"gone"`` where the process is, None without a plug."""
    return {"plug_state": look}


@plug.post("/plug")
def turn() -> ResponseReturnValue:
    """Pull the plug, or plug in: ``state`` is ``"out"`` or ``"in"``."""
    state = request.form.get("state", "")
    if state not in MESSAGES or not current_app.config["UPSTREAM_CONTROL_URL"]:
        abort(400, "A plug is in or out, and nothing else.")
    try:
        control("POST", {"state": state}).raise_for_status()
    except requests.RequestException:
        flash("The plug does not answer: the upstream's process is gone. Start the demo again.", "problem")
    else:
        flash(MESSAGES[state], "toy")
    return redirect(where_they_were(), 303)


def look() -> str | None:
    """How the plug is now."""
    if not current_app.config["UPSTREAM_CONTROL_URL"]:
        return None
    try:
        return str(control("GET").json()["state"])
    except (requests.RequestException, KeyError):
        return "gone"


def control(method: str, wish: dict[str, str] | None = None) -> requests.Response:
    """Ask the upstream's control port, which is on this machine: past any proxy."""
    with requests.Session() as session:
        session.trust_env = False
        url = f"{current_app.config['UPSTREAM_CONTROL_URL']}/plug"
        return session.request(method, url, json=wish, timeout=(1, 5))


def where_they_were() -> str:
    """The page that the form was on, as long as it is one of ours."""
    referrer = request.referrer or ""
    return referrer if urlsplit(referrer).netloc == request.host else url_for("directory.index")
