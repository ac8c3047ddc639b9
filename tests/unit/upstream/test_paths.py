from __future__ import annotations

import pytest

from flask_dualstorage.errors import ValidationFailed
from flask_dualstorage.upstream.paths import record_path


@pytest.mark.parametrize(
    ("record_id", "path"),
    [
        (42, "/people/42"),
        ("tmp-1", "/people/tmp-1"),
        ("../admin", "/people/..%2Fadmin"),
        ("a b?c#d%e", "/people/a%20b%3Fc%23d%25e"),
        ("Ödön", "/people/%C3%96d%C3%B6n"),
        ("...", "/people/..."),
    ],
)
def test_an_id_stays_in_one_segment(record_id: str | int, path: str) -> None:
    assert record_path("/people", record_id) == path


def test_a_slash_at_the_end_of_the_url_is_not_doubled() -> None:
    assert record_path("/people/", 1) == "/people/1"


@pytest.mark.parametrize("record_id", ["", ".", "..", "\ud800"])
def test_an_id_that_no_encoding_protects_is_refused(record_id: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        record_path("/people", record_id)
    assert list(refused.value.errors) == ["id"]
