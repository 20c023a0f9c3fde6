"""What a route needs of whoever calls it. Every route says so: one that does not cannot be created."""

from enum import Enum


class Needs(Enum):
    """What a route needs."""

    NOTHING = "nothing"
    """No credentials: probes, the description of the API, and what proves itself in another way."""
    CREDENTIALS = "credentials"
    """Any principal."""
    ADMINISTRATOR = "administrator"
    """An administrator."""
