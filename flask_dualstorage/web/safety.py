"""Decisions about requests from elsewhere, pure: which POST comes from our own pages, where a redirect may go."""

from __future__ import annotations


def from_own_site(sec_fetch_site: str | None, origin: str | None, own_origin: str) -> bool:
    """Whether a POST with these headers may change anything (see DESIGN §8 "Web").

    ``Sec-Fetch-Site`` decides where it is present (W3C Fetch Metadata: a page can not forge it). Browsers leave it
    out over plain HTTP; then ``Origin`` decides (RFC 6454), and ``null``, a sandboxed frame say, is nobody's. Neither
    header is sent by what is no browser: curl, a scheduler, a test client; there is no session to abuse in those.
    """
    if sec_fetch_site is not None:
        return sec_fetch_site in ("same-origin", "none")
    if origin is not None:
        return origin.lower() == own_origin.lower()
    return True


def safe_next(target: str | None) -> str | None:
    r"""``target`` where a redirect to it stays on this origin, else None.

    Only a path from the root does. Browsers read ``//host`` and ``/\host`` as another host, and drop tabs and line
    breaks before they look.
    """
    if target is None or not target.startswith("/") or target.startswith("//") or "\\" in target:
        return None
    if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in target):
        return None
    return target
