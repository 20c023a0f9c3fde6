"""The bodies of Iceberg's REST protocol."""

from typing import Any

from pydantic import BaseModel, Field

from featurestore.server.responses.answer import Answer


class CatalogConfig(Answer):
    """What a client is to know of the catalog."""

    defaults: dict[str, str]
    overrides: dict[str, str]
    endpoints: list[str] = Field(description="what the catalog does: it only reads")


class NamespaceList(Answer):
    """A page of namespaces, each as the list of its parts."""

    namespaces: list[list[str]]
    next_page_token: str | None = Field(default=None, alias="next-page-token")


class Namespace(Answer):
    """A namespace."""

    namespace: list[str]
    properties: dict[str, str]


class TableIdentifier(Answer):
    """The name of a table."""

    namespace: list[str]
    name: str


class TableList(Answer):
    """A page of tables."""

    identifiers: list[TableIdentifier]
    next_page_token: str | None = Field(default=None, alias="next-page-token")


class LoadedTable(Answer):
    """The metadata of a table, as Iceberg's table specification describes them."""

    metadata_location: str = Field(alias="metadata-location")
    metadata: dict[str, Any]
    config: dict[str, str] = Field(description="empty: clients use their own access to the files")


class IcebergError(BaseModel):
    """An error: its `type` is the name of one of Iceberg's exceptions, and `code` the HTTP status."""

    message: str
    type: str
    code: int


class IcebergErrorAnswer(BaseModel):
    """The body of every error."""

    error: IcebergError
