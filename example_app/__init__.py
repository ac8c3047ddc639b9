"""A directory of people with notes, rendered from a REST API that may be away; and that little API."""
