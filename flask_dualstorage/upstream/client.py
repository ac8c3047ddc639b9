"""The client of one upstream: a request goes out, a whole answer comes back, or a failure that says why not.

Prepared requests go through a kept-alive adapter, never through a ``requests.Session``: what a session adds is what
must not be here. A cookie jar would be shared between owners, ``.netrc`` would override an owner's credential, and a
POST that follows a 301 turns into a GET and is lost.
"""

from __future__ import annotations

import http.client
import os
import re
from collections.abc import Callable, Mapping
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import requests
import urllib3
from requests.auth import HTTPBasicAuth
from requests.cookies import RequestsCookieJar
from requests.hooks import dispatch_hook
from requests.structures import CaseInsensitiveDict
from requests.utils import get_environ_proxies, requote_uri, select_proxy

from ..errors import ConfigurationError, ValidationFailed
from ..types import Answer, Failure, Fault, Request
from .failures import failure
from .wire import Adapter, exchanging

#: What ``upstream_auth`` may give: a requests auth object, (user, password), headers, or nothing.
Auth = Callable[[requests.PreparedRequest], requests.PreparedRequest] | tuple[str, str] | Mapping[str, str] | None

MAX_REDIRECTS = 5

_DEFAULTS = {"User-Agent": "flask-dualstorage", "Accept": "application/json", "Accept-Encoding": "gzip, deflate"}
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_REDIRECTS_OF_READS = frozenset({301, 302, 303, 307, 308})
#: The two that keep method and body (RFC 9110 §15.4.8, §15.4.9).
_REDIRECTS_OF_WRITES = frozenset({307, 308})

#: A path and query as they may stand on a request line: visible ASCII but no ``#`` (RFC 9112 §3.2.1).
_TARGET = re.compile(r"/[!\"$-~]*")
#: RFC 9110 §5.1 and §5.5; values are sent as Latin-1.
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE = re.compile(r"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")


class Client:
    """Sends requests to one upstream. Safe to share between threads, and to keep across a fork.

    ``url`` is its base, http or https, perhaps with a path. ``timeout`` is (seconds to connect, seconds for the whole
    answer, connecting and redirects included); of name resolution alone the operating system decides how long it
    takes. ``max_response_bytes`` bounds a body after decompression, ``pool_size`` the connections that are kept.

    Proxies and the CA bundle (``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE``) are read from the environment once, here.
    Raises ``ConfigurationError`` where the URL, the proxy or the bundle can not be used.
    """

    def __init__(
        self, name: str, url: str, *, timeout: tuple[float, float], max_response_bytes: int, pool_size: int
    ) -> None:
        self.name = name
        self._origin, self._base = _split_base(name, url)
        self._timeout = timeout
        self._max_response_bytes = max_response_bytes
        self._pool_size = pool_size
        self._proxies = _environment_proxies(self._origin)
        self._verify = _environment_ca_bundle()
        self._opened: tuple[int, Adapter] | None = None

    def send(
        self, request: Request, *, auth: Auth = None, timeout: tuple[float, float] | None = None
    ) -> Answer | Failure:
        """Send ``request`` and read the whole answer, whatever its status; ``timeout`` as in the class, for this call.

        Redirects are followed within the same origin only: of reads at most five, of writes 307 and 308. Any other
        comes back as the answer it is.

        Raises ``ValidationFailed`` for a path or header that can not be sent, ``ConfigurationError`` for an ``auth``
        that can not be used; then nothing was sent. ``Failure`` tells apart what can not have arrived
        (``Fault.UNSENT``, ``NO_CREDENTIAL``) from what may have (``CUT``, ``TOO_LARGE``).
        """
        prepared = self._prepare(request)
        try:
            prepared = _authorized(prepared, auth)
        except requests.RequestException:
            # An auth object may have asked for a token first.
            return Failure(Fault.NO_CREDENTIAL, f"The credential for the upstream {self.name!r} could not be fetched.")
        with exchanging(*(timeout or self._timeout)) as exchange:
            try:
                return self._follow(prepared)
            # The last three, too: requests lets some through that are not its own.
            except (
                requests.RequestException,
                urllib3.exceptions.HTTPError,
                OSError,
                http.client.HTTPException,
            ) as error:
                return failure(self.name, error, exchange, self._max_response_bytes)

    def close(self) -> None:
        """Close the connections that this process keeps; the next ``send`` opens new ones."""
        opened, self._opened = self._opened, None
        if opened is not None and opened[0] == os.getpid():
            opened[1].close()

    def _prepare(self, request: Request) -> requests.PreparedRequest:
        """Build the request by hand: ``requests`` would rewrite dots and escapes in its path."""
        check_request(request)
        target = self._base + request.path
        if request.params:
            target += ("&" if "?" in target else "?") + urlencode(request.params)
        prepared = requests.PreparedRequest()
        prepared.method = request.method.upper()
        prepared.url = self._origin + target
        prepared.headers = CaseInsensitiveDict(_DEFAULTS)
        prepared.headers.update(request.headers)
        prepared.body = request.body
        _set_length(prepared)
        return prepared

    def _adapter(self) -> Adapter:
        """This process's adapter. A connection that came through a fork belongs to the parent.

        No lock, which a fork could inherit locked: two threads that both open one do no harm.
        """
        opened = self._opened
        if opened is None or opened[0] != os.getpid():
            opened = self._opened = (os.getpid(), self._new_adapter())
        return opened[1]

    def _new_adapter(self) -> Adapter:
        return Adapter(self._pool_size, self._max_response_bytes)

    def _follow(self, prepared: requests.PreparedRequest) -> Answer:
        """Send, and send again where a redirect may be followed."""
        # Digest, NTLM and the like hook the response, and may log in the connection itself: such a one is used for
        # this call alone, so that it is never another owner's.
        own = bool(prepared.hooks["response"])
        adapter = self._new_adapter() if own else self._adapter()
        try:
            answer = self._exchange(adapter, prepared)
            for _ in range(MAX_REDIRECTS):
                url = self._redirected(prepared, answer)
                if url is None:
                    break
                prepared.url = url
                answer = self._exchange(adapter, prepared)
        finally:
            if own:
                adapter.close()
        return answer

    def _exchange(self, adapter: Adapter, prepared: requests.PreparedRequest) -> Answer:
        if not prepared.hooks["response"]:
            return adapter.exchange(prepared, self._verify, self._proxies)
        options: dict[str, Any] = {
            "stream": True,
            "timeout": None,
            "verify": self._verify,
            "cert": None,
            "proxies": self._proxies,
        }
        response = adapter.send(prepared, **options)
        response = dispatch_hook("response", prepared.hooks, response, **options)  # type: ignore[no-untyped-call]
        return Answer(response.status_code, response.headers, response.content, response.url)

    def _redirected(self, prepared: requests.PreparedRequest, answer: Answer) -> str | None:
        """Where to send it again, or None. Never to another origin, and no write but by 307 and 308."""
        follows = _REDIRECTS_OF_READS if prepared.method in _READS else _REDIRECTS_OF_WRITES
        location = answer.headers.get("Location")
        if answer.status_code not in follows or not location or prepared.url is None:
            return None
        # http.client decodes headers as Latin-1; the few servers that send more than ASCII here mean UTF-8.
        location = location.encode("latin-1", "replace").decode("utf-8", "replace")
        try:
            parts = urlsplit(requote_uri(urljoin(prepared.url, location)))
            same = _origin(parts) == _origin(urlsplit(self._origin))
        except ValueError:
            return None
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return self._origin + target if same and _TARGET.fullmatch(target) else None


def check_request(request: Request) -> None:
    """Raise ``ValidationFailed`` for a path or header that can not be sent."""
    if not _TARGET.fullmatch(request.path):
        raise ValidationFailed({"path": f"{request.path!r} must begin with '/' and be percent-encoded."})
    if wrong := _unsendable(request.headers):
        raise ValidationFailed({f"headers.{wrong}": "It can not be sent: it holds a line break or the like."})


#: Takes no cookie from anyone and gives none.
_NO_COOKIES = DefaultCookiePolicy(allowed_domains=[])


def _split_base(name: str, url: str) -> tuple[str, str]:
    """Origin and path of the base URL, neither with a slash at its end; international names as IDNA has them."""
    prepared = requests.PreparedRequest()
    try:
        prepared.prepare_url(url, None)
        parts = urlsplit(prepared.url or "")
        port = "" if parts.port is None else f":{parts.port}"
        (parts.hostname or "").encode("idna")  # labels of at most 63 bytes; the resolver would find out only later
    except (requests.RequestException, ValueError) as error:
        raise ConfigurationError(f"The URL of upstream {name!r} can not be used: {type(error).__name__}.") from None
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        raise ConfigurationError(
            f"The URL of upstream {name!r} must be http or https, with a host; no query, fragment or credential."
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}", parts.path.rstrip("/")


def _environment_proxies(origin: str) -> dict[str, str]:
    """The proxy that the environment names for this origin, as ``requests`` wants it; empty: none."""
    proxy = select_proxy(origin, get_environ_proxies(origin, no_proxy=None))
    if proxy and proxy.lower().startswith("socks"):
        raise ConfigurationError("The environment names a SOCKS proxy for the upstream; only HTTP proxies can be used.")
    return {urlsplit(origin).scheme: proxy} if proxy else {}


def _environment_ca_bundle() -> bool | str:
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        bundle = os.environ.get(variable)
        if bundle:
            if not Path(bundle).exists():
                raise ConfigurationError(f"{variable} names {bundle!r}, which does not exist.")
            return bundle
    return True


def _origin(parts: Any) -> tuple[str, str | None, int | None]:
    """Scheme, host and port (RFC 6454 §4), comparable. Raises ``ValueError`` where the port is no number."""
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _authorized(prepared: requests.PreparedRequest, auth: Any) -> requests.PreparedRequest:
    """Put the credential on the request. Its errors never show what it holds."""
    if auth is None:
        return prepared
    if isinstance(auth, Mapping):
        _check_credential(auth)
        prepared.headers.update(auth)
    elif isinstance(auth, tuple) and len(auth) == 2 and all(isinstance(part, str | bytes) for part in auth):
        user, password = (part.encode() if isinstance(part, str) else part for part in auth)
        HTTPBasicAuth(user, password)(prepared)
    elif callable(auth):
        prepared._cookies = RequestsCookieJar(_NO_COOKIES)  # type: ignore[attr-defined]  # its hooks copy it
        prepared = auth(prepared)
        if not isinstance(prepared, requests.PreparedRequest):
            raise ConfigurationError(
                f"The auth object of upstream_auth must return the request, not {_kind(prepared)}."
            )
        _set_length(prepared)
    else:
        raise ConfigurationError(
            f"upstream_auth gave {_kind(auth)}; it takes a requests auth object, (user, password), a dict of headers "
            "such as {'Authorization': 'Bearer …'}, or None."
        )
    _check_credential(prepared.headers)
    return prepared


def _check_credential(headers: Mapping[Any, Any]) -> None:
    if wrong := _unsendable(headers):
        raise ConfigurationError(
            f"upstream_auth gave a header that can not be sent: {wrong}. It must be one line of text. "
            "Is there a line break at its end?"
        )


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"


def _set_length(prepared: requests.PreparedRequest) -> None:
    """Say how long the body is, also where a write has none (RFC 9110 §8.6)."""
    if prepared.body is not None or prepared.method not in _READS:
        prepared.headers["Content-Length"] = str(len(prepared.body or b""))


def _unsendable(headers: Mapping[Any, Any]) -> str | None:
    """The name of the first header that would not arrive as one header, or None."""
    for name, value in headers.items():
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        if not isinstance(name, str) or not _FIELD_NAME.fullmatch(name):
            return repr(name)
        if not isinstance(text, str) or not _FIELD_VALUE.fullmatch(text):
            return name
    return None
