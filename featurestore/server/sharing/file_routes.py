"""The route of the files that recipients download, each under an address that was signed for it."""

from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.responses import FileResponse

from featurestore.errors import NotFound
from featurestore.server.access.needs import Needs
from featurestore.server.routing import get, head
from featurestore.server.sharing.share_routes import TAG
from featurestore.server.sharing.table_routes import TABLE
from featurestore.sharing.copies import Copies
from featurestore.store import FeatureStore

FILE = f"{TABLE}/files/{{file}}"
_PARQUET = "application/vnd.apache.parquet"


class FileRoutes:
    """Files of shared tables, whole or in ranges. The signature was checked before: see `RecipientAccess`."""

    def __init__(self, store: FeatureStore) -> None:
        self._copies = Copies(store.settings)

    def routes(self) -> list[APIRoute]:
        """The routes. Clients ask for the size with HEAD before they read parts."""
        extra = {
            "parameters": [
                {"name": name, "in": "query", "required": True, "schema": {"type": "string"}} for name in ("key", "expires", "signature")
            ]
        }
        binary: dict[int | str, dict[str, Any]] = {200: {"content": {_PARQUET: {}}}}
        return [
            get(FILE, self.get_file, TAG, needs=Needs.RECIPIENT, response_class=Response, responses=binary, openapi_extra=extra),
            head(FILE, self.head_file, TAG, needs=Needs.RECIPIENT, response_class=Response, openapi_extra=extra),
        ]

    def get_file(self, request: Request, share: str, schema: str, table: str, file: str) -> Response:
        """A file of a table as Parquet, or the ranges of it that `Range` names; the address is one that a query returned.

        401 if the address was changed, has expired, or its recipient was revoked. A download that has begun is finished.
        """
        path = self._copies.path(file)
        if path is None:
            raise NotFound("file", f"of {schema}.{table}", None)
        # The name is a digest of the content.
        return FileResponse(path, media_type=_PARQUET, headers={"ETag": f'"{file.partition(".")[0]}"'})

    def head_file(self, request: Request, share: str, schema: str, table: str, file: str) -> Response:
        """The headers of a file, with its size."""
        return self.get_file(request, share, schema, table, file)
