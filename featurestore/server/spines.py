"""Requests that bring a spine: as JSON that names or holds it, or as a form with a file."""

from typing import Any, TypeVar

import orjson
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import UploadFile

from featurestore.errors import RequestError
from featurestore.server.bodies import JoinFields
from featurestore.server.routing import body_of, checked, parsed, schema_of
from featurestore.server.uploads.reader import UploadReader

PATHS = ("/v1/training-sets", "/v1/point-in-time")
"""Where a form with a file may be sent."""

Fields = TypeVar("Fields", bound=JoinFields)


async def read(request: Request, fields: type[Fields], whole: type[Fields], uploads: UploadReader) -> tuple[Fields, Any]:
    """The request's fields, and its spine as the store takes it.

    `whole` is the model of a JSON body, `fields` that of a form's text fields. A form's file is spooled to disk by the
    parser, and read from there by another process. Raises: RequestValidationError, RequestError.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        body = parsed(whole, await request.body())
        return body, body.spine.given()  # type: ignore[attr-defined]
    async with request.form(max_files=1, max_fields=20) as form:
        values: dict[str, Any] = {name: value for name, value in form.items() if isinstance(value, str)}
        for name in ("snapshots", "split"):
            if name in values:
                values[name] = _json(values[name], name)
        if values.get("by", "").startswith("["):
            values["by"] = _json(values["by"], "by")
        file = next((value for value in form.values() if isinstance(value, UploadFile)), None)
        if file is None:
            raise RequestError("a form brings the spine as a file in its field 'spine': Parquet, or Arrow IPC", field="spine")
        return checked(fields, values), await uploads.read(file.file)


def described(fields: type[JoinFields], whole: type[JoinFields]) -> dict[str, Any]:
    """Both forms in OpenAPI's words."""
    form = schema_of(fields)
    form["properties"]["spine"] = {"type": "string", "format": "binary", "description": "a Parquet or Arrow IPC file"}
    form["required"] = [*form.get("required", []), "spine"]
    return body_of(("application/json", schema_of(whole)), ("multipart/form-data", form))


def _json(text: str, field: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        problem = {"type": "json_invalid", "loc": ("body", field), "msg": str(error), "ctx": {"error": str(error)}}
        raise RequestValidationError([problem]) from error
