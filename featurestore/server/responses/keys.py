"""Response bodies of API keys."""

from featurestore.server.responses.answer import Answer


class Key(Answer):
    """An API key, without its secret. `state` is live, expired or revoked; `last_used` is exact to the hour."""

    id: str
    name: str
    groups: list[str]
    administrator: bool
    state: str
    created: str
    created_by: str | None
    expires: str
    revoked: str | None
    revoked_by: str | None
    last_used: str | None


class CreatedKey(Answer):
    """A new API key, with the token that clients send. It is not stored, and cannot be shown again."""

    key: Key
    token: str
