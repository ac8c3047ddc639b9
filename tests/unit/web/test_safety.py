"""What comes from another site changes nothing, and no redirect leaves this one."""

import pytest

from flask_dualstorage.web.safety import from_own_site, safe_next

OWN = "https://app.example"


@pytest.mark.parametrize(
    ("fetch_site", "origin", "passes"),
    [
        (None, None, True),
        (None, OWN, True),
        (None, "HTTPS://App.Example", True),
        (None, "null", False),
        (None, "", False),
        (None, "https://evil.example", False),
        (None, "http://app.example", False),
        (None, "https://app.example:8443", False),
        (None, "https://app.example.evil.example", False),
        (None, "https://sub.app.example", False),
        ("same-origin", None, True),
        ("none", None, True),
        ("same-site", None, False),
        ("cross-site", None, False),
        ("", None, False),
        ("Same-Origin", None, False),
        ("same-origin, cross-site", None, False),
        ("same-origin", "https://evil.example", True),
        ("same-origin", "null", True),
        ("none", "null", True),
        ("cross-site", OWN, False),
        ("same-site", OWN, False),
    ],
)
def test_who_may_post(fetch_site, origin, passes):
    assert from_own_site(fetch_site, origin, OWN) is passes


@pytest.mark.parametrize(
    "target", ["/", "/people", "/people/7?tab=notes&x=//a#b", "/a/..//b", "/späth", "/x?next=https://evil.example"]
)
def test_a_path_of_this_site_is_a_good_next(target):
    assert safe_next(target) == target


@pytest.mark.parametrize(
    "target",
    [
        *(None, "", "people", "?a=b", "#a", " /people"),
        *("//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "/a\\b"),
        *("https://evil.example", "https:evil.example", "http:///evil.example", "javascript:alert(1)", "data:,x"),
        *("/\t/evil.example", "/\n/evil.example", "\t//evil.example", "/a\r\nSet-Cookie: x", "/\x00", "/\x7f", "/\x85"),
    ],
)
def test_anything_else_is_not(target):
    assert safe_next(target) is None
