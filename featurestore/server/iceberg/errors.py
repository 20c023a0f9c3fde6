"""The form of errors in Iceberg's REST protocol: `{"error": {"message", "type", "code"}}`."""

from collections.abc import Mapping
from typing import Any

PATH = "/iceberg/"
MISSING: Mapping[str, str] = {"table": "NoSuchTableException", "namespace": "NoSuchNamespaceException"}
"""The type of a 404 by the kind of what is missing."""
TYPES: Mapping[int, str] = {
    401: "NotAuthorizedException",
    403: "ForbiddenException",
    404: "NotFoundException",
    405: "UnsupportedOperationException",
    500: "InternalServerError",
    501: "UnsupportedOperationException",
    503: "ServiceUnavailableException",
    507: "ServiceUnavailableException",
}
"""The type of an error by its status; of others, BadRequestException."""


def iceberg_form(status: int, error: Mapping[str, Any]) -> dict[str, Any]:
    """The body of an error."""
    kind = (error.get("details") or {}).get("kind") if status == 404 else None
    name = MISSING.get(str(kind)) or TYPES.get(status, "BadRequestException")
    return {"error": {"message": error.get("message", "the request failed"), "type": name, "code": status}}
