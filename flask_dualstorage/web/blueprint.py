"""The blueprint: ``POST /sync``, ``GET /status``, ``GET /``, the owner's pending changes, and decisions over them.

Forms and 303 redirects for a browser, JSON for those who ask for it. Every answer is of one owner and never cached.
"""

from __future__ import annotations

import math
import sys
from typing import Any

from flask import Blueprint, Response, current_app, redirect, render_template, request, url_for
from flask.sansio.app import App
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest, Forbidden, ServiceUnavailable

from . import pages
from .about import own_form
from .answers import is_program, json_asked_for, problem, with_problems
from .decisions import decide
from .safety import from_own_site, safe_next
from .telling import tell
from .words import out_of_reach, summary

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
#: ``Retry-After`` in seconds where nothing tells how long the upstream will be away.
_RETRY_SOON = 5

_CROSS_SITE = (
    "This request came from another site, so it was refused and nothing was changed. "
    "Open the page here and send it again."
)


def create_blueprint(url_prefix: str | None) -> Blueprint:
    """The blueprint ``dualstorage`` under ``url_prefix``.

    None: no routes, only the templates, so that the macros work in an app that leaves the pages off.
    """
    if url_prefix is None:
        return Blueprint("dualstorage_templates", __name__, template_folder="templates")
    blueprint = Blueprint(
        "dualstorage", __name__, url_prefix=url_prefix, template_folder="templates", static_folder="static"
    )
    blueprint.before_request(_refuse_cross_site)
    blueprint.after_request(_keep_private)
    blueprint.add_url_rule("/sync", view_func=sync, methods=["POST"])
    blueprint.add_url_rule("/status", view_func=status)
    blueprint.add_url_rule("/", view_func=pending)
    blueprint.add_url_rule("/history", view_func=pages.history)
    blueprint.add_url_rule("/writes/<write_id>", view_func=pages.show)
    blueprint.add_url_rule("/writes/<write_id>/edit", view_func=pages.edit)
    blueprint.add_url_rule("/writes/<write_id>/discard", view_func=pages.confirm_discard)
    blueprint.add_url_rule("/writes/retry", view_func=pages.retry_selected, methods=["POST"])
    blueprint.add_url_rule("/writes/discard", view_func=pages.discard_selected, methods=["POST"])
    blueprint.add_url_rule(
        "/writes/<write_id>/<any(retry, discard, resolve, edit):what>", view_func=decide, methods=["POST"]
    )
    _exempt_from_flask_wtf(blueprint)
    return blueprint


@with_problems
def sync() -> ResponseReturnValue:
    """Send what the owner has waiting; ``collection`` (repeatable) narrows it, ``next`` says where a form goes on."""
    storage = _storage()
    report = storage.sync(collections=_collections(), budget=storage.config.sync_budget)
    if not is_program():
        tell(summary(report))
        return redirect(safe_next(request.form.get("next")) or url_for(".pending"), 303)
    if out_of_reach(report):
        seconds = _RETRY_SOON if report.retry_after is None else max(1, math.ceil(report.retry_after))
        return problem(ServiceUnavailable(summary(report), retry_after=seconds), {"report": report.to_dict()})
    return current_app.json.response(report.to_dict())


@with_problems
def status() -> ResponseReturnValue:
    """The owner's ``Status`` as JSON."""
    return current_app.json.response(_storage().status().to_dict())


@with_problems
def pending() -> ResponseReturnValue:
    """The owner's pending changes: a page, or ``{"writes": […]}`` when JSON is asked for."""
    writes = _storage().pending()
    if json_asked_for():
        return current_app.json.response({"writes": [write.to_dict() for write in writes]})
    forms = {write.id: own_form(write) for write in writes if write.state in ("rejected", "conflict")}
    return render_template("dualstorage/pending.html", writes=writes, own_forms=forms)


@with_problems
def _refuse_cross_site() -> ResponseReturnValue:
    # Not request.host_url, which spells an international domain in Unicode where a browser sends punycode.
    own = f"{request.scheme}://{request.host}"
    fetch_site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if request.method not in _SAFE_METHODS and not from_own_site(fetch_site, origin, own):
        raise Forbidden(_CROSS_SITE)
    return None  # type: ignore[return-value]


def _keep_private(answer: Response) -> Response:
    if request.endpoint is None or not request.endpoint.endswith(".static"):
        answer.headers["Cache-Control"] = "private, no-store"
        answer.vary.update(("Accept", "Cookie"))
    return answer


def _storage() -> Any:
    return current_app.extensions["dualstorage"]


def _collections() -> list[str] | None:
    """The collections that the request names, or None for all."""
    if not request.is_json:
        return request.form.getlist("collection") or None
    body = request.get_json() if request.get_data() else {}
    names = body.get("collection", []) if isinstance(body, dict) else None
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadRequest('Send {"collection": "name"} or {"collection": ["name", …]}, or nothing for all of them.')
    return names or None


def _exempt_from_flask_wtf(blueprint: Blueprint) -> None:
    """Exempt ``blueprint`` from CSRFProtect, whose tokens a JSON client does not have; we look at headers instead."""

    def exempt(app: App) -> None:
        flask_wtf = sys.modules.get("flask_wtf")
        csrf = app.extensions.get("csrf")
        if flask_wtf is not None and isinstance(csrf, flask_wtf.CSRFProtect):
            csrf.exempt(blueprint)

    # Initialised before us: its check runs before ours at each request. After us: ours runs first.
    blueprint.record(lambda state: exempt(state.app))
    blueprint.before_app_request(lambda: exempt(current_app))
