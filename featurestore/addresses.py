"""Addresses of servers and stores, fit to be shown: without what opens them."""

import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

SECRET = re.compile(r"secret|token|passw|credential|key|sas|connection-string|authorization", re.IGNORECASE)
"""What the name of a property or parameter that must not be shown looks like."""


def without_secrets(address: str) -> str:
    """An address without passwords, in its authority or its query."""
    if "://" not in address:
        return address
    parts = urlsplit(address)
    user, at, host = parts.netloc.rpartition("@")
    query = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if not SECRET.search(name)]
    if not (":" in user or len(query) < len(parse_qsl(parts.query, keep_blank_values=True))):
        return address
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}{at}{host}".lstrip("@"), query=urlencode(query)))
