"""Who the user is: two users without passwords, and anybody else."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, request, session, url_for
from flask.typing import ResponseReturnValue

from example_app.directory import dualstorage

#: Their names by their ids.
USERS = {"ada": "Ada", "grace": "Grace"}

account = Blueprint("account", __name__)


@dualstorage.user_loader
def current_user() -> str | None:
    """The id of the user who is logged in; None: an anonymous visitor, whose storage is the session's."""
    user = session.get("user")
    return user if user in USERS else None


@account.app_context_processor
def user_names() -> dict[str, object]:
    """What the layout shows of users."""
    return {"users": USERS, "user": USERS.get(current_user() or "")}


@account.post("/login")
def log_in() -> ResponseReturnValue:
    """Log in; what the anonymous visitor typed follows into the account."""
    name = request.form.get("user", "")
    if name not in USERS:
        abort(400, "There is no such user: choose Ada or Grace.")
    visitor, waiting = dualstorage.owner, dualstorage.status().pending
    if current_user() is None:
        dualstorage.adopt(visitor, f"user:{name}")
    else:  # somebody else's changes stay theirs
        dualstorage.forget(visitor)
        waiting = 0
    session.clear()
    session["user"] = name
    flash(f"Hello {USERS[name]}.{brought_along(waiting)}", "saved")
    return redirect(url_for("directory.index"), 303)


def brought_along(waiting: int) -> str:
    """A sentence about the changes that came along; none where there were none."""
    if waiting == 0:
        return ""
    what = "The change that waited here is" if waiting == 1 else f"The {waiting} changes that waited here are"
    return f" {what} yours now."


@account.post("/logout")
def log_out() -> ResponseReturnValue:
    """Log out; the cached copies are forgotten, what is pending waits for the next log-in."""
    if current_user() is not None:
        dualstorage.forget(dualstorage.owner)
    # All of it: the anonymous id of before log-in was adopted, and its storage leads into that account.
    session.clear()
    flash("You are logged out. Nothing of yours is shown any more; changes that wait stay safe.", "saved")
    return redirect(url_for("directory.index"), 303)
