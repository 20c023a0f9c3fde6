"""Read requests that have a spine, either in the JSON body or as a file in a multipart form."""

from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import FormData, UploadFile

from featurestore.errors import RequestError
from featurestore.server import json_body
from featurestore.server.requests import Body
from featurestore.server.routing import BodySchema, body_of
from featurestore.server.uploads.reader import UploadReader
from featurestore.values import json_numbers

PATHS = ("/v1/training-sets", "/v1/point-in-time", "/v1/table-writes", "/v1/source-writes", "/v1/lookup-training-sets")
"""Paths that accept a multipart form."""
MOST_FIELDS = 20

Fields = TypeVar("Fields", bound=Body)


async def read(
    request: Request, form_model: type[Fields], json_model: type[Fields], uploads: UploadReader, field: str = "spine"
) -> tuple[Fields, Any]:
    """The fields of the request, and its spine as an argument of the store's methods; `field` is the form's field with the file.

    `json_model` is the model of a JSON body, `form_model` that of the text fields of a form. The form parser writes the uploaded file
    to disk, where another process reads it. Raises: RequestValidationError, RequestError.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        body = await json_body.read(request, json_model)
        return body, body.spine.to_spine()  # type: ignore[attr-defined]
    form = await _parse_form(request)
    try:
        values: dict[str, Any] = {name: value for name, value in form.multi_items() if isinstance(value, str)}
        if len(values) < sum(isinstance(value, str) for _, value in form.multi_items()):
            raise RequestError("a field of the form is repeated; send each field once")
        for name in ("snapshots", "split", "feature_lookups"):
            # A tag stands for itself.
            if name in values and not (name == "snapshots" and values[name].startswith("@")):
                values[name] = _parse_json(values[name], name)
        for name in ("by", "exclude_columns"):
            if values.get(name, "").startswith("["):
                values[name] = _parse_json(values[name], name)
        file = next((value for value in form.values() if isinstance(value, UploadFile)), None)
        if file is None:
            raise RequestError(f"the form has no file; send the rows as a Parquet or Arrow IPC file in the field '{field}'", field=field)
        return json_body.validate(form_model, values), await uploads.read(file.file, field)
    finally:
        await form.close()


def describe(form_model: type[Body], json_model: type[Body], field: str = "spine") -> dict[str, Any]:
    """The OpenAPI description of the JSON body and the form."""
    return body_of(("application/json", BodySchema(json_model)), ("multipart/form-data", BodySchema(form_model, field)))


async def _parse_form(request: Request) -> FormData:
    try:
        return await request.form(max_files=1, max_fields=MOST_FIELDS)
    except (ValueError, LookupError) as error:
        raise RequestError("the body is not valid multipart/form-data", reason=str(error)) from error


def _parse_json(text: str, field: str) -> Any:
    try:
        return json_numbers.loads(text)
    except (ValueError, RecursionError) as error:
        message = str(error) if isinstance(error, json_numbers.JsonProblem) else "not valid JSON"
        raise RequestValidationError([{"type": "json", "loc": ("body", field), "msg": message}]) from error
