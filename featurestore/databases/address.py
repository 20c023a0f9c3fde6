"""The address of a source's database: from the settings by name, or as the definition has it."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, quote, urlencode

from featurestore.errors import RequestError, brief, near
from featurestore.files.locations import refuse_location
from featurestore.masking import Secret
from featurestore.redaction import percent_encoded, without_secrets

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}")
"""What a name of a database in the setting `databases` is; anything else is an address."""
_SCHEME = re.compile(r"postgres(?:ql)?(?:\+[a-z0-9_]+)?://")
_DEADLINES = {"connect_timeout": "10", "tcp_user_timeout": "60000", "keepalives_idle": "30", "application_name": "featurestore"}
"""Parameters of connections that the address does not set: nothing waits for a server that is gone."""


def database_address(url: str, databases: Mapping[str, Secret], locations: Sequence[str] | None) -> Secret:
    """The address to connect to. `locations` are the addresses that definitions may have themselves (None: any).

    Raises: RequestError for a name that the setting does not have, an address elsewhere, and a kind of database that cannot be read.
    """
    if NAME.fullmatch(url):
        if url not in databases:
            raise RequestError(
                f"the setting databases has no {brief(url)}{near(url, databases)}; add its address there, as in"
                ' [databases] warehouse = "postgresql://user:password@host/db"',
                field="url",
            )
        address = percent_encoded(databases[url].reveal())
    else:
        refuse_location(url.partition("?")[0], locations)
        address = percent_encoded(url)
    match = _SCHEME.match(address)
    if match is None:
        raise RequestError(f"{without_secrets(address)} is no database that can be read: give an address of postgresql://", field="url")
    base, _, query = address[match.end() :].partition("?")
    parameters = {**_DEADLINES, **dict(parse_qsl(query))}
    return Secret.address(f"postgresql://{base}?{urlencode(parameters, quote_via=quote)}")
