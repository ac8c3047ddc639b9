"""The clock of the regression tests; the machine has one for each of its runs."""

from tests.whole import bare_environment, clock

__all__ = ["bare_environment", "clock"]
