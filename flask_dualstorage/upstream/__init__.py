"""How the package speaks to an upstream: the client, the breaker, the dialects."""
