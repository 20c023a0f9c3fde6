"""Read requests with a spine: JSON that names or contains it, or a form with a file."""

from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import FormData, UploadFile

from featurestore.errors import RequestError
from featurestore.server import json_body
from featurestore.server.requests import JoinFields
from featurestore.server.routing import body_of, schema_of
from featurestore.server.uploads.reader import UploadReader
from featurestore.values import json_numbers

PATHS = ("/v1/training-sets", "/v1/point-in-time")
"""Paths that take a form with a file."""
MOST_FIELDS = 20

Fields = TypeVar("Fields", bound=JoinFields)


async def read(request: Request, fields: type[Fields], whole: type[Fields], uploads: UploadReader) -> tuple[Fields, Any]:
    """The request's fields, and its spine as the store takes it.

    `whole` is the model of a JSON body, `fields` that of a form's text fields. A form's file is spooled to disk by the
    parser, and read from there by another process. Raises: RequestValidationError, RequestError.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        body = await json_body.read(request, whole)
        return body, body.spine.given()  # type: ignore[attr-defined]
    form = await _form(request)
    try:
        values: dict[str, Any] = {name: value for name, value in form.multi_items() if isinstance(value, str)}
        if len(values) < sum(isinstance(value, str) for _, value in form.multi_items()):
            raise RequestError("a field of the form is there twice; send each once")
        for name in ("snapshots", "split"):
            if name in values:
                values[name] = _json(values[name], name)
        if values.get("by", "").startswith("["):
            values["by"] = _json(values["by"], "by")
        file = next((value for value in form.values() if isinstance(value, UploadFile)), None)
        if file is None:
            raise RequestError("a form brings the spine as a file in its field 'spine': Parquet, or Arrow IPC", field="spine")
        return json_body.checked(fields, values), await uploads.read(file.file)
    finally:
        await form.close()


def described(fields: type[JoinFields], whole: type[JoinFields]) -> dict[str, Any]:
    """The OpenAPI description of both kinds of body."""
    form = schema_of(fields)
    form["properties"]["spine"] = {"type": "string", "format": "binary", "description": "a Parquet or Arrow IPC file"}
    form["required"] = [*form.get("required", []), "spine"]
    return body_of(("application/json", schema_of(whole)), ("multipart/form-data", form))


async def _form(request: Request) -> FormData:
    try:
        return await request.form(max_files=1, max_fields=MOST_FIELDS)
    except (ValueError, LookupError) as error:
        raise RequestError("the body is not valid multipart/form-data", reason=str(error)) from error


def _json(text: str, field: str) -> Any:
    try:
        return json_numbers.loads(text)
    except (ValueError, RecursionError) as error:
        said = str(error) if isinstance(error, json_numbers.JsonProblem) else "not valid JSON"
        raise RequestValidationError([{"type": "json", "loc": ("body", field), "msg": said}]) from error
