"""The HTTP responses to errors: a status, and the body `{"error": {"type", "message", "details"}}`."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from featurestore.errors import (
    Busy,
    Conflict,
    DefinitionError,
    FeatureStoreError,
    Forbidden,
    MaterializationFailed,
    MissingExtra,
    ModelError,
    NotFound,
    NotReady,
    NotYet,
    OutOfResources,
    RequestError,
    Timeout,
    TooLarge,
    TypeMismatch,
    Unauthorized,
)
from featurestore.library_messages import PRIVATE
from featurestore.masking import logger_of
from featurestore.server.access.access import by_whom, without_hidden_names
from featurestore.server.error_body import LISTED, TEXT, document, document_of
from featurestore.server.logs import printable
from featurestore.values import json_encoding

logger = logger_of(__name__)

STATUSES: Mapping[type[FeatureStoreError], int] = {
    DefinitionError: 422,
    TypeMismatch: 422,
    ModelError: 422,
    RequestError: 400,
    Unauthorized: 401,
    Forbidden: 403,
    TooLarge: 413,
    Timeout: 503,
    NotFound: 404,
    Conflict: 409,
    MaterializationFailed: 409,
    OutOfResources: 507,
    NotReady: 503,
    NotYet: 501,
    MissingExtra: 503,
}
"""The HTTP status by error class; an error has the status of its nearest base class in this mapping."""

NAMES = {404: "NotFound", 405: "MethodNotAllowed", 413: "TooLarge"}
"""The error type by status, for errors of the web framework."""


BUSY_SECONDS, NOT_READY_SECONDS = "1", "5"
"""When a client should try again, in seconds: after a refusal for load, and while a component is down or not ready."""


def retry_headers(error: FeatureStoreError) -> dict[str, str]:
    """The Retry-After header of an error that passes by itself; none for others."""
    return {"Retry-After": BUSY_SECONDS if isinstance(error, Busy) else NOT_READY_SECONDS} if isinstance(error, NotReady) else {}


def status_of(error: FeatureStoreError) -> int:
    """The HTTP status of a FeatureStoreError."""
    return next((STATUSES[cls] for cls in type(error).__mro__ if cls in STATUSES), 500)


def response(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """The response with an error body; values that JSON does not have become strings."""
    content = json_encoding.dumps(body, default=json_encoding.plain, option=orjson.OPT_NON_STR_KEYS)
    return Response(content, status, headers, "application/json")


async def handle_error(request: Request, error: FeatureStoreError) -> Response:
    """The response to a FeatureStoreError. Errors that the server's operator has to fix are also logged."""
    status = status_of(error)
    if isinstance(error, NotFound):
        error = without_hidden_names(request.scope, error)
    if error.details.get("left"):
        logger.debug("the client of a request disconnected")
    elif isinstance(error, Timeout):
        logger.warning("a request to %s%s was stopped: %s", printable(request.scope["path"]), by_whom(request.scope), error)
    elif status >= 500 or PRIVATE in error.details:
        # The message says which package to install; the traceback of the import adds nothing.
        cause = None if isinstance(error, MissingExtra) else error.__cause__
        logger.warning("%s %s%s: %s", request.method, printable(request.scope["path"]), by_whom(request.scope), error, exc_info=cause)
    return response(status, document_of(error), retry_headers(error))


async def handle_invalid_request(request: Request, error: RequestValidationError) -> Response:
    """The response to a body or parameter that does not match its model."""
    problems = [{"field": _path(problem["loc"])[:TEXT], "message": _sentence(problem)[:TEXT]} for problem in error.errors()]
    summary = "; ".join(
        f"{problem['field'][:100]}: {problem['message']}" if problem["field"] else problem["message"] for problem in problems[:LISTED]
    )
    if len(problems) > LISTED:
        summary += f"; and {len(problems) - LISTED} more"
    content_type = request.headers.get("content-type", "")
    hint = (
        ""
        if request.method == "GET" or "json" in content_type or "multipart" in content_type
        else "; send it with Content-Type: application/json"
    )
    return response(422, document("RequestError", f"the request has a wrong shape: {summary}{hint}", {"problems": problems}))


async def handle_http_error(request: Request, error: HTTPException) -> Response:
    """The response to an error of the web framework: an unknown path, a wrong method or a body that is too large."""
    message = str(error.detail)
    if error.status_code == 404:
        message = f"there is no {request.method} {request.url.path}; /openapi.json lists all paths"
    if error.status_code == 405:
        message = f"{request.url.path} does not take {request.method}"
    return response(error.status_code, document(NAMES.get(error.status_code, "RequestError"), message), error.headers)


HANDLERS: Mapping[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    FeatureStoreError: handle_error,
    RequestValidationError: handle_invalid_request,
    HTTPException: handle_http_error,
}
"""The exception handlers of the application."""


def _path(location: Any) -> str:
    """The location of a problem as text: `("body", "entities", 0)` becomes `entities[0]`, `("query", "wait")` becomes `query.wait`."""
    text = ""
    for part in location[1:] if location and location[0] == "body" else location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _sentence(problem: Any) -> str:
    if problem["type"] == "json_invalid":
        return f"not valid JSON: {problem.get('ctx', {}).get('error', 'it ends too early')}"
    return str(problem["msg"]).removeprefix("Value error, ")
