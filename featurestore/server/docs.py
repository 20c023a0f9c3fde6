"""The page /docs: Swagger UI with all files from this server, so that no third party sees who reads it or runs scripts in it."""

from collections.abc import Callable, Collection
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from featurestore.errors import NotFound
from featurestore.server.access.needs import Needs
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
# By default, Swagger UI sends the description to validator.swagger.io; `validatorUrl: null` prevents it.
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
MEDIA_TYPES = {"css": "text/css", "js": "text/javascript", "png": "image/png"}
FILES = {"swagger-ui.css": "swagger-ui.css", "swagger-ui.js": "swagger-ui-bundle.js", "favicon.png": "favicon-32x32.png"}
PATHS = ("/docs", "/docs/start.js", *(f"/docs/{name}" for name in FILES))


class Application(FastAPI):
    """FastAPI whose OpenAPI description declares the bearer token, so that the page has a field for it, while the server `asks` for one.

    `front` wraps the ASGI application: it returns one that answers some requests itself and passes the others on.
    """

    def __init__(self, *, asks: Callable[[], bool], open_paths: Collection[str], front: Callable[[ASGIApp], ASGIApp], **more: Any) -> None:
        super().__init__(**more)
        self._asks, self._open_paths = asks, open_paths
        self._front = front(super().__call__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the wrapped application."""
        await self._front(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI description. A server asks for credentials from when it has API keys on."""
        document = super().openapi()
        if not self._asks():
            return document
        paths = dict(document["paths"])
        for path in paths.keys() & set(self._open_paths):
            paths[path] = {method: {**operation, "security": []} for method, operation in paths[path].items()}
        scheme = {"token": {"type": "http", "scheme": "bearer"}}
        components = {**document.get("components", {}), "securitySchemes": scheme}
        return {**document, "paths": paths, "components": components, "security": [{"token": []}]}


class Docs:
    """The routes of the page and of its files."""

    def routes(self) -> list[APIRoute]:
        """The routes, which the OpenAPI description leaves out."""
        return [
            get("/docs", self.page, "docs", needs=Needs.NOTHING, include_in_schema=False),
            get("/docs/start.js", self.start, "docs", needs=Needs.NOTHING, include_in_schema=False),
            get("/docs/{name}", self.file, "docs", needs=Needs.NOTHING, include_in_schema=False),
        ]

    async def page(self) -> Response:
        """The HTML page."""
        return Response(PAGE, media_type="text/html", headers={"Content-Security-Policy": POLICY})

    async def start(self) -> Response:
        """The script that starts Swagger UI; the content security policy forbids inline scripts."""
        return Response(START, media_type=MEDIA_TYPES["js"])

    def file(self, name: str) -> Response:
        """A static file of Swagger UI."""
        if name not in FILES:
            raise NotFound("file", name, FILES)
        content = (files("fastapi_swagger") / "resources" / FILES[name]).read_bytes()
        return Response(content, media_type=MEDIA_TYPES[name.rpartition(".")[2]], headers={"Cache-Control": "max-age=3600"})
