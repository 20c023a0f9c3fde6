"""The query of a key's rows after a watermark as one row of lists, which the online store serves."""

from collections.abc import Sequence

from featurestore.compiler.expressions import quote_name
from featurestore.compiler.query import Query, text_query


def rows_ahead(
    rows: Query, keys: Sequence[str], features: Sequence[str], names: tuple[str, str, str], most: int, settled: int | None = None
) -> Query:
    """One row per key, ordered by key: the keys, feature_timestamp (that of its first row), created_timestamp (NULL), and lists with a
    value of each of its first `most` rows in order.

    `names` are those of the lists of both times, in microseconds, and of the time of the first row that is left out (NULL if none is).
    Of the rows up to `settled` (microseconds), only the last one of each key is kept: nobody asks about a time before that.
    """
    at, known, until = map(quote_name, names)
    key_list = ", ".join(map(quote_name, keys))
    columns = [
        f"list(epoch_us(feature_timestamp) ORDER BY feature_timestamp) AS {at}",
        f"list(epoch_us(created_timestamp) ORDER BY feature_timestamp) AS {known}",
        *(f"list({quote_name(name)} ORDER BY feature_timestamp) AS {quote_name(name)}" for name in features),
    ]
    if settled is not None:
        rows = text_query(
            f"SELECT * FROM (\n{rows}\n)\nQUALIFY coalesce(epoch_us(lead(feature_timestamp) OVER"
            f" (PARTITION BY {key_list} ORDER BY feature_timestamp)) > {settled:d}, true)"
        )
    number = f"row_number() OVER (PARTITION BY {key_list} ORDER BY feature_timestamp)"
    first = f"SELECT * FROM (\n{rows}\n)\nQUALIFY {number} <= {most + 1:d}"
    lists = f"SELECT {key_list}, {', '.join(columns)}\nFROM (\n{first}\n)\nGROUP BY {key_list}"
    kept = [f"{name}[:{most:d}] AS {name}" for name in (at, known)]
    kept += [f"{at}[{most + 1:d}] AS {until}", *(f"{name}[:{most:d}] AS {name}" for name in map(quote_name, features))]
    times = f"make_timestamptz({at}[1]) AS feature_timestamp, CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS created_timestamp"
    return text_query(f"SELECT {key_list}, {times}, {', '.join(kept)}\nFROM (\n{lists}\n)\nORDER BY {key_list}")
