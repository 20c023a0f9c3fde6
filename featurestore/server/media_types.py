"""Choose the form of an answer by the Accept header."""

ARROW, JSON = "application/vnd.apache.arrow.stream", "application/json"
ARROW_HEADER = ARROW.encode()


def prefers_arrow(accept: str) -> bool:
    """Whether an Accept header names Arrow with a weight above zero, and JSON with none above that. A wildcard means JSON."""
    weights = dict(map(_parse_range, accept.split(",")))
    arrow = weights.get(ARROW, 0.0)
    return arrow > 0 and arrow >= weights.get(JSON, 0.0)


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header names gzip, or `*`, with a weight above zero."""
    weights = dict(map(_parse_range, accept_encoding.split(",")))
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _parse_range(text: str) -> tuple[str, float]:
    """The name of one entry of such a header, and its weight; 0 for a weight that is not a number."""
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    weight = next((part.removeprefix("q=") for part in parameters if part.startswith("q=")), "1")
    try:
        return name, float(weight)
    except ValueError:
        return name, 0.0
