"""The apps that stand in front of real upstreams."""

from tests.whole import bare_environment, clock, make_app

__all__ = ["bare_environment", "clock", "make_app"]
