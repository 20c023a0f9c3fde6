"""Routes are explicit lists; these are the few words that all of them share."""

import copy
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Query
from fastapi.routing import APIRoute
from pydantic import BaseModel

from featurestore.server.responses import ErrorAnswer

Wait = Annotated[float, Query(ge=0, le=60, description="seconds to wait for the end before answering with the state as it is")]
CANCEL_SECONDS = 15.0
"""How long an answer waits for the end of what it cancels, if not told otherwise."""

ERRORS: dict[int | str, dict[str, Any]] = {"default": {"model": ErrorAnswer, "description": "What was wrong"}}


def get(path: str, endpoint: Callable[..., Any], tag: str, **more: Any) -> APIRoute:
    """A GET route; the endpoint's docstring is its description."""
    return _route("GET", path, endpoint, tag, **more)


def post(path: str, endpoint: Callable[..., Any], tag: str, **more: Any) -> APIRoute:
    """A POST route."""
    return _route("POST", path, endpoint, tag, **more)


def delete(path: str, endpoint: Callable[..., Any], tag: str, **more: Any) -> APIRoute:
    """A DELETE route."""
    return _route("DELETE", path, endpoint, tag, **more)


def _route(method: str, path: str, endpoint: Callable[..., Any], tag: str, *, kind: type[APIRoute] = APIRoute, **more: Any) -> APIRoute:
    name = more.pop("name", endpoint.__name__)
    responses = {**ERRORS, **more.pop("responses", {})}
    return kind(path, endpoint, methods=[method], tags=[tag], name=name, operation_id=name, responses=responses, **more)


class BareRoute(APIRoute):
    """Hands the request to its endpoint and sends the response as it is: nothing is solved, validated or encoded on the way."""

    def get_route_handler(self) -> Callable[..., Any]:
        """The endpoint itself."""
        return self.endpoint


class EngineRoute(APIRoute):
    """Makes the engine work: has room for some requests at once and a deadline, and is answered by a worker."""


class LongRoute(EngineRoute):
    """The same of work that takes as long as a job."""


def body_of(*kinds: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """OpenAPI's words for a body in one of several content types."""
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema} for kind, schema in kinds}}}


def json_of(model: type[BaseModel], required: bool = True) -> dict[str, Any]:
    """The same of a body in JSON."""
    told = body_of(("application/json", schema_of(model)))
    told["requestBody"]["required"] = required
    return told


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """A model's JSON schema with the models inside it written out, since a route's own schema can refer to nothing."""
    schema = model.model_json_schema()
    parts = schema.pop("$defs", {})

    def written_out(node: Any) -> Any:
        if isinstance(node, dict) and "$ref" in node:
            return written_out(copy.deepcopy(parts[node["$ref"].rpartition("/")[2]]))
        if isinstance(node, dict):
            return {name: written_out(value) for name, value in node.items()}
        return [written_out(value) for value in node] if isinstance(node, list) else node

    found: dict[str, Any] = written_out(schema)
    return found
