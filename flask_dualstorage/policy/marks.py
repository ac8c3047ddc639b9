"""A mark of what somebody was shown of a write: a decision over anything else is refused."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import orjson


def mark_of(write: Any) -> str:
    """Give the mark of a write, or of what its owner is shown of it: of its state and of all that is decided over."""
    shown = [str(write.state), write.attributes, write.base, write.theirs]
    return sha256(orjson.dumps(shown)).hexdigest()[:16]
