"""``flask dualstorage doctor`` on servers that others wrote: it finds out what their ready-made dialects say."""

from __future__ import annotations

from typing import Any

from flask_dualstorage import Collection, DualStorage
from flask_dualstorage.policy.diagnosis import Weight
from tests.upstreams.grounds import Ground
from tests.whole import MakeApp, storage_of

#: What a plain collection lacks on each, and whether its creates could be doubled.
LACKS: dict[str, dict[str, str]] = {
    "JsonServerGround": {},
    "KintoGround": {"list_at": "'data'", "record_at": "'data'", "wrap": "'data'"},
    "DrfGround": {"slash": "True", "list_at": "'results'"},
}


def test_the_doctor_tells_what_a_plain_collection_lacks_and_leaves_nothing(ground: Ground, make_app: MakeApp):
    """Each of the three, read and written; what was made for the look is gone."""
    dualstorage = DualStorage()
    dualstorage.register(type("People", (Collection,), {"url": ground.people.url}))
    dualstorage.upstream_auth(lambda owner, upstream: ground.credential)
    app = make_app(dualstorage, url=ground.url)
    before = sorted(map(str, ground.held()))
    found = storage_of(app).for_user("alice").examine("people", {"name": "Doctor", "city": "Nowhere"})
    told = "\n".join(finding.text for finding in found.findings)
    lacks = LACKS[type(ground).__name__]
    assert {name: found.dialect.get(name) for name in lacks} == lacks, told
    assert found.doubled == ("creates",)
    assert "A record that is not there gives 404." in told
    assert "it counts as done" in told
    assert [
        finding.text for finding in found.findings if finding.weight is Weight.RISK and "deleted" in finding.text
    ] == []
    assert sorted(map(str, ground.held())) == before


def test_it_sees_that_kinto_puts_and_minds_versions(ground: Ground, make_app: MakeApp) -> None:
    """What makes a create safe there: PUT to an id that is chosen here."""
    dualstorage = DualStorage()
    dualstorage.register(type("People", (Collection,), {"url": ground.people.url}))
    dualstorage.upstream_auth(lambda owner, upstream: ground.credential)
    app = make_app(dualstorage, url=ground.url)
    found: Any = storage_of(app).for_user("alice").examine("people", {"name": "Doctor", "city": "Nowhere"})
    told = "\n".join(finding.text for finding in found.findings)
    is_kinto = type(ground).__name__ == "KintoGround"
    assert ("It takes PUT-to-create" in told) is is_kinto, told
    assert ("It minds If-Match" in told) is is_kinto
