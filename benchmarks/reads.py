"""R1 to R3: the view of a cached list, against bare Flask-Caching, against HTTP caches, and with writes pending."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import requests
from flask import Flask
from flask_caching import Cache

from . import ground
from .rounds import Line, Options, Plot, Program, Report, compare, repeated
from .upstream import records

YEAR = 365 * 24 * ground.HOUR


def ours(app: Flask, name: str) -> Program:
    """A page's look at a list that is cached, one record of it read."""
    storage = ground.alice(app)
    storage.collection(name).fetch()

    def view() -> str:
        people = storage.collection(name).fetch(max_age=YEAR)
        if people.source != "cache":
            raise RuntimeError(f"this is no cached list, but {people.source}")
        return str(people[0]["name"])

    return repeated(view)


def bare(path: Path, count: int, config: dict[str, Any]) -> Program:
    """The same from Flask-Caching, as an app would write it that encodes with orjson."""
    app = Flask("bare", instance_path=str(path))
    cache = Cache(config={"CACHE_DEFAULT_TIMEOUT": ground.HOUR, **config})
    cache.init_app(app)
    key = "people:" + "0" * 64
    with app.app_context():
        cache.set(key, orjson.dumps(records(count)))

    def view() -> str:
        return str(orjson.loads(cache.get(key))[0]["name"])

    program = repeated(_within(app, view))
    return _within(app, program)


def _within(app: Flask, view: Callable[[], Any]) -> Callable[[], Any]:
    """An app has its context during a page; pushing it is not what is measured."""

    def program() -> Any:
        with app.app_context():
            return view()

    return program


def _against_flask_caching(report: Report, options: Options, url: str, path: Path) -> None:
    for count, limit in ((100, 1.5), (options.size(5_000, 200), 1.15)):
        app = ground.make_app(path / f"r1-{count}", url, ground.simple())
        found = compare(
            {"ours": ours(app, f"people{count}"), "Flask-Caching + orjson": bare(path, count, ground.simple())},
            options.rounds,
        )
        what = f"view of {count:,} cached records, nothing pending, against Flask-Caching + orjson (SimpleCache)"
        report.at_most("R1", what, found.ratio("ours", "Flask-Caching + orjson"), limit)


def _requests_cache(url: str, backend: Any) -> Program:
    import requests_cache

    session = requests_cache.CachedSession(backend=backend, expire_after=ground.HOUR)
    session.get(f"{url}/people100")
    return repeated(lambda: session.get(f"{url}/people100").json()[0]["name"])


def _hishel(url: str, path: Path) -> dict[str, Program]:
    import hishel
    from hishel.httpx import CacheClient
    from hishel.requests import CacheAdapter

    client = CacheClient(storage=hishel.SqliteStorage(database_path=path / "hishel-httpx.db"))
    session = requests.Session()
    session.mount("http://", CacheAdapter(storage=hishel.SqliteStorage(database_path=path / "hishel-requests.db")))
    programs: dict[str, Program] = {}
    for name, get in (("hishel, httpx", client.get), ("hishel, requests", session.get)):
        get(f"{url}/people100")
        programs[name] = repeated(lambda get=get: get(f"{url}/people100").json()[0]["name"])
    return programs


def _against_http_caches(report: Report, options: Options, url: str, path: Path) -> None:
    try:
        import hishel  # noqa: F401
        import requests_cache
    except ImportError:
        report.told("R2", "requests-cache and hishel are not installed here", "")
        return
    what = "the same, 100 records, against a hit of"

    app = ground.make_app(path / "r2-memory", url, ground.simple())
    found = compare({"ours": ours(app, "people100"), "requests-cache": _requests_cache(url, "memory")}, options.rounds)
    report.at_most("R2", f"{what} requests-cache, both in memory", found.ratio("ours", "requests-cache"), 0.15)

    app = ground.make_app(path / "r2-files", url)
    sqlite = requests_cache.SQLiteCache(str(path / "requests-cache.sqlite"))
    programs = {"ours": ours(app, "people100"), "requests-cache": _requests_cache(url, sqlite), **_hishel(url, path)}
    found = compare(programs, options.rounds)
    report.at_most("R2", f"{what} requests-cache (its SQLite, our files)", found.ratio("ours", "requests-cache"), 0.15)
    for name in ("hishel, httpx", "hishel, requests"):
        report.at_most("R2", f"{what} {name} (its SQLite, our files)", found.ratio("ours", name), 1.0)

    with ground.redis(path) as port:
        if port is None:
            report.told("R2", "Redis is not installed here", "")
            return
        import redis

        backend = requests_cache.RedisCache(connection=redis.Redis(port=port))
        app = ground.make_app(path / "r2-redis", url, ground.in_redis(port))
        programs = {"ours": ours(app, "people100"), "requests-cache": _requests_cache(url, backend)}
        found = compare(programs, options.rounds)
        report.at_most("R2", f"{what} requests-cache, both on Redis", found.ratio("ours", "requests-cache"), 0.35)


def _with_writes_pending(report: Report, options: Options, url: str, path: Path) -> None:
    count, pending = options.size(5_000, 200), options.size(200, 20)
    programs: dict[str, Program] = {}
    for name, waiting in (("200 pending", pending), ("none", 0)):
        app = ground.make_app(path / f"r3-{waiting}", url, ground.simple())
        people = ground.alice(app).collection(f"people{count}").fetch()
        for number, person in enumerate(people[:: count // pending][:waiting]):
            person.save(age=100 + number, remote=False)
        programs[name] = ours(app, f"people{count}")
    found = compare(programs, options.rounds)
    what = f"the same with {pending} edits pending in {count:,} records, against none pending"
    report.at_most("R3", what, found.ratio("200 pending", "none"), 1.6)


def _growth(report: Report, options: Options, url: str, path: Path) -> None:
    points: dict[str, list[tuple[float, float]]] = {"ours": [], "Flask-Caching + orjson": []}
    for count in (10, 100) if options.tiny else (10, 100, 1_000, 10_000, 50_000):
        app = ground.make_app(path / f"grow-{count}", url, ground.simple())
        programs = {
            "ours": ours(app, f"people{count}"),
            "Flask-Caching + orjson": bare(path, count, ground.simple()),
        }
        found = compare(programs, min(5, options.rounds))
        for name, line in points.items():
            line.append((count, found.median(name)))
    lines = tuple(Line(name, tuple(line)) for name, line in points.items())
    report.plots.append(Plot("View of a cached list", "records", "seconds a view", lines))


def run(options: Options) -> Report:
    """Measure what reads cost."""
    report = Report()
    with contextlib.ExitStack() as stack:
        path, url = stack.enter_context(ground.folder()), stack.enter_context(ground.upstream())
        for measure in (_against_flask_caching, _against_http_caches, _with_writes_pending, _growth):
            measure(report, options, url, path)
    return report
