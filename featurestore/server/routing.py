"""Functions and route classes that build the explicit lists of routes."""

import copy
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from threading import RLock
from typing import Annotated, Any, get_args, get_origin
from urllib.parse import parse_qsl

from fastapi import Query
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.routing import BaseRoute, compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from featurestore.errors import RequestError, near
from featurestore.server.access.access import check_access
from featurestore.server.access.needs import Needs
from featurestore.server.responses import ErrorAnswer

Wait = Annotated[float, Query(ge=0, le=60, description="seconds to wait for the job to end before the current state is returned")]
PARAMETER_CHARACTERS = 100
"""Characters of an unknown query parameter that its error repeats."""
DESCRIPTION_PATH = "/openapi.json"
"""The path of the description of the API, which FastAPI adds itself."""
CANCEL_SECONDS = 15.0
"""Default time that a cancellation waits for its job to end."""

ERRORS: dict[int | str, dict[str, Any]] = {"default": {"model": ErrorAnswer, "description": "Error"}}


def get(path: str, endpoint: Callable[..., Any], tag: str, *, needs: Needs, **more: Any) -> APIRoute:
    """A GET route; the endpoint's docstring is its description. `needs` says who may call it."""
    return _route("GET", path, endpoint, tag, needs, **more)


def head(path: str, endpoint: Callable[..., Any], tag: str, *, needs: Needs, **more: Any) -> APIRoute:
    """A HEAD route."""
    return _route("HEAD", path, endpoint, tag, needs, **more)


def post(path: str, endpoint: Callable[..., Any], tag: str, *, needs: Needs, **more: Any) -> APIRoute:
    """A POST route."""
    return _route("POST", path, endpoint, tag, needs, **more)


def put(path: str, endpoint: Callable[..., Any], tag: str, *, needs: Needs, **more: Any) -> APIRoute:
    """A PUT route."""
    return _route("PUT", path, endpoint, tag, needs, **more)


def delete(path: str, endpoint: Callable[..., Any], tag: str, *, needs: Needs, **more: Any) -> APIRoute:
    """A DELETE route."""
    return _route("DELETE", path, endpoint, tag, needs, **more)


def _route(
    method: str, path: str, endpoint: Callable[..., Any], tag: str, needs: Needs, *, kind: "type[StrictRoute] | None" = None, **more: Any
) -> APIRoute:
    name = more.pop("name", endpoint.__name__)
    named = {"name": name, "operation_id": name, "responses": {**ERRORS, **more.pop("responses", {})}}
    return (kind or StrictRoute)(path, endpoint, needs=needs, methods=[method], tags=[tag], **named, **more)


def check_routes(routes: Sequence[BaseRoute], open_paths: Collection[str]) -> None:
    """Check that every route says what it needs, and that exactly those that need nothing are on `open_paths`.

    Raises: ValueError; then the application does not start.
    """
    for route in routes:
        path = getattr(route, "path", "")
        needs = route.needs if isinstance(route, StrictRoute) else Needs.NOTHING if path == DESCRIPTION_PATH else None
        if needs is None:
            raise ValueError(f"the route {path or route!r} does not say what it needs")
        # Of a path with a parameter, some values may be open: the files of a page.
        if "{" not in path and (path in open_paths) is not (needs is Needs.NOTHING):
            raise ValueError(f"the route {path} needs {needs.word}, and {'is' if path in open_paths else 'is not'} an open path")


class StrictRoute(APIRoute):
    """A route that says what it needs, and refuses those who may not call it.

    It also refuses query parameters that it does not have, or that are given twice: one of them would otherwise be ignored.

    What FastAPI derives from the endpoint's signature and from models is made on first use, by the first request or the description of
    the API: it takes over a millisecond a route, and most processes answer requests of few routes.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], *, needs: Needs, methods: list[str], name: str, **more: Any) -> None:
        self.needs = needs
        # What a router and `check_routes` read of a route.
        self.path, self.endpoint, self.name, self.methods = path, endpoint, name, set(methods)
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)
        self._lock = RLock()
        self._derive: Callable[[], None] | None = partial(super().__init__, path, endpoint, methods=methods, name=name, **more)

    def __getattr__(self, name: str) -> Any:
        """An attribute that FastAPI derives."""
        if name == "_derive" or self._derive is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        with self._lock:
            if self._derive is not None:
                self._derive()
                self._derive = None
        return getattr(self, name)

    @cached_property
    def _query(self) -> set[str]:
        """The names of the query parameters."""
        described = (self._description or {}).get("parameters", ())
        names = {parameter["name"] for parameter in described if parameter["in"] == "query"}
        return names | {parameter.alias for parameter in self.dependant.query_params}

    @cached_property
    def _lists(self) -> set[str]:
        """Those of which each value is an entry of a list."""
        return {parameter.alias for parameter in self.dependant.query_params if _is_list(parameter.field_info.annotation)}

    @property
    def openapi_extra(self) -> dict[str, Any] | None:
        """What the description of the API says of the route beside what FastAPI sees; None if that is nothing. Schemas are made here."""
        description: dict[str, Any] | None = _with_schemas(self._description)
        return description

    @openapi_extra.setter
    def openapi_extra(self, description: dict[str, Any] | None) -> None:
        self._description = description

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. Raises: Forbidden; RequestError naming an unknown query parameter."""
        check_access(scope, self.needs, f"{scope['method']} {self.path_format}")
        self.check_query(scope)
        await self.answer(scope, receive, send)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that is not refused."""
        await super().handle(scope, receive, send)

    def check_query(self, scope: Scope) -> None:
        """Check the names of the query parameters. Raises: RequestError naming an unknown or repeated one."""
        seen: set[str] = set()
        for name, _ in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True) if scope["query_string"] else ():
            shown, route = name[:PARAMETER_CHARACTERS], f"{scope['method']} {self.path_format}"
            if name not in self._query:
                known = near(shown, self._query) if self._query else "; it has none"
                raise RequestError(f"{route} has no query parameter {shown!r}{known}", field=shown)
            if name in seen and name not in self._lists:
                raise RequestError(f"{route}: the query parameter {shown!r} is given twice; give it once", field=shown)
            seen.add(name)


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(get_origin(part) is list for part in get_args(annotation))


class RefusingRoute(StrictRoute):
    """A route that refuses whatever it is asked, with any query parameters."""

    def check_query(self, scope: Scope) -> None:
        """Check nothing."""


class BareRoute(StrictRoute):
    """Calls its endpoint with the request and sends the response unchanged, without FastAPI's dependencies, validation and encoding."""

    def get_route_handler(self) -> Callable[..., Any]:
        """The endpoint itself."""
        return self.endpoint


class EngineRoute(StrictRoute):
    """A route that runs queries. A worker process answers it, with a limit on concurrent requests and a deadline: `workers` passes requests
    on; it is None in the worker process.
    """

    workers: ASGIApp | None = None

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request here, or have a worker process answer it."""
        if self.workers is None or scope["method"] not in (self.methods or ()):
            await super().answer(scope, receive, send)
        else:
            await self.workers(scope, receive, send)


class LongRoute(EngineRoute):
    """An EngineRoute whose deadline is that of jobs."""


@dataclass(frozen=True)
class BodySchema:
    """The JSON schema of a request body, which is made only for the description of the API: all of them take a tenth of a second.

    With `file`, it is a form's, with a field of this name for a file.
    """

    model: type[BaseModel]
    file: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The schema, with nested models inlined: FastAPI does not resolve references in `openapi_extra`."""
        schema = self.model.model_json_schema()
        definitions = schema.pop("$defs", {})

        def inline(node: Any) -> Any:
            if isinstance(node, dict) and "$ref" in node:
                return inline(copy.deepcopy(definitions[node["$ref"].rpartition("/")[2]]))
            if isinstance(node, dict):
                return {name: inline(value) for name, value in node.items()}
            return [inline(value) for value in node] if isinstance(node, list) else node

        inlined: dict[str, Any] = inline(schema)
        if self.file is not None:
            inlined["properties"][self.file] = {"type": "string", "format": "binary", "description": "a Parquet or Arrow IPC file"}
            inlined["required"] = [*inlined.get("required", []), self.file]
        return inlined


def _with_schemas(node: Any) -> Any:
    if isinstance(node, BodySchema):
        return node.to_dict()
    return {name: _with_schemas(value) for name, value in node.items()} if isinstance(node, dict) else node


def body_of(*schemas: tuple[str, BodySchema]) -> dict[str, Any]:
    """The OpenAPI description of a request body, from pairs of media type and schema."""
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema} for media_type, schema in schemas}}}


def json_of(model: type[BaseModel], required: bool = True) -> dict[str, Any]:
    """The OpenAPI description of a JSON request body."""
    description = body_of(("application/json", BodySchema(model)))
    description["requestBody"]["required"] = required
    return description
