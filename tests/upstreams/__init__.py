"""Upstreams that the tests start themselves."""
