"""Response bodies of shares and recipients, and of the sharing protocol."""

from pydantic import BaseModel

from featurestore.server.responses.answer import Answer


class SharedTableInfo(Answer):
    """An object in a share."""

    table: str
    on: str
    added: str
    added_by: str | None


class ShareInfo(Answer):
    """A share with its tables, and the names of its recipients."""

    name: str
    tables: list[SharedTableInfo]
    recipients: list[str]
    created: str
    created_by: str | None


class RecipientKey(Answer):
    """A bearer token of a recipient, without its secret."""

    id: str
    state: str
    created: str
    created_by: str | None
    expires: str
    last_used: str | None


class RecipientInfo(Answer):
    """A recipient of shares. `state` is live, expired or revoked."""

    name: str
    shares: list[str]
    groups: list[str]
    state: str
    keys: list[RecipientKey]
    created: str
    created_by: str | None


class Profile(Answer):
    """The file that clients of Delta Sharing read."""

    shareCredentialsVersion: int
    endpoint: str
    bearerToken: str
    expirationTime: str


class CreatedRecipient(Answer):
    """A recipient with a new key, whose profile is in this answer only."""

    recipient: RecipientInfo
    key: str
    profile: Profile


class NamedShare(BaseModel):
    """A share, as recipients see it."""

    name: str


class OneShare(BaseModel):
    """A share, as recipients see it."""

    share: NamedShare


class NamedSchema(BaseModel):
    """A schema of a share."""

    name: str
    share: str


class SharePage(Answer):
    """Shares; `nextPageToken` if there are more."""

    items: list[NamedShare]


class SchemaPage(Answer):
    """Schemas; `nextPageToken` if there are more."""

    items: list[NamedSchema]


class TablePage(Answer):
    """Tables, each with `name`, `schema` and `share`; `nextPageToken` if there are more."""

    items: list[dict[str, str]]
