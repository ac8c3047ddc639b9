"""Decisions, pure: no I/O, no clock, no randomness of their own. Each is tested by a table of cases."""
