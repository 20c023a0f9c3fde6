"""The page that shows the API: Swagger UI from this server alone, so that reading it tells nobody, and nobody else's script runs in it."""

from collections.abc import Callable, Collection
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from featurestore.errors import NotFound
from featurestore.server.routing import get

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>featurestore API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" href="docs/favicon.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
# Without `validatorUrl` Swagger UI would show the description to a server of its makers.
START = """\
window.onload = () => SwaggerUIBundle({
  url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null, persistAuthorization: false,
  presets: [SwaggerUIBundle.presets.apis], layout: "BaseLayout"
});
"""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
KINDS = {"css": "text/css", "js": "text/javascript", "png": "image/png"}
FILES = {"swagger-ui.css": "swagger-ui.css", "swagger-ui.js": "swagger-ui-bundle.js", "favicon.png": "favicon-32x32.png"}
PATHS = ("/docs", "/docs/start.js", *(f"/docs/{name}" for name in FILES))


class Described(FastAPI):
    """An application whose description says that it asks for a token, so that the page lets one be entered.

    `front` is given the application itself, and gives what answers in its place or passes requests on to it.
    """

    def __init__(self, *, token: bool, open_paths: Collection[str], front: Callable[[ASGIApp], ASGIApp], **more: Any) -> None:
        super().__init__(**more)
        self._token, self._open_paths = token, open_paths
        self._front = front(super().__call__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        await self._front(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """The description, made once."""
        document = super().openapi()
        if self._token and "security" not in document:
            document.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{"token": []}]
            for path in document["paths"].keys() & set(self._open_paths):
                for operation in document["paths"][path].values():
                    operation["security"] = []
        return document


class Docs:
    """The page and what it is made of."""

    def routes(self) -> list[APIRoute]:
        """What is served, and described nowhere."""
        return [
            get("/docs", self.page, "docs", include_in_schema=False),
            get("/docs/start.js", self.start, "docs", include_in_schema=False),
            get("/docs/{name}", self.file, "docs", include_in_schema=False),
        ]

    async def page(self) -> Response:
        """The page itself."""
        return Response(PAGE, media_type="text/html", headers={"Content-Security-Policy": POLICY})

    async def start(self) -> Response:
        """What begins it: scripts in a page are not run here."""
        return Response(START, media_type=KINDS["js"])

    def file(self, name: str) -> Response:
        """A file of Swagger UI."""
        if name not in FILES:
            raise NotFound("file", name, FILES)
        content = (files("fastapi_swagger") / "resources" / FILES[name]).read_bytes()
        return Response(content, media_type=KINDS[name.rpartition(".")[2]], headers={"Cache-Control": "max-age=3600"})
