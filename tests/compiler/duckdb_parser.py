"""Check rendered SQL with DuckDB's own parser: it must contain only what users may write."""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import duckdb

from featurestore.compiler import functions

OPERATORS = frozenset(
    (
        "! !~~ !~~* !~ % & * ** + - / // << <> < <= = == > >= >> @ ^ ^@ | || ~ ~~ ~~* not_like_escape like_escape ilike_escape "
        "not_ilike_escape"
    ).split()
)
WRITTEN = frozenset(
    (
        # How the allowlist's functions and signs are called once they are written: DuckDB's names of the same things.
        "abs acos array_agg array_contains array_distinct array_extract array_length array_slice array_sort array_to_string ascii asin "
        "atan atan2 avg bool_and bool_or cbrt ceil chr concat concat_ws contains corr cos cosh cot count count_if count_star covar_pop "
        "covar_samp cume_dist date_diff date_trunc day dayname dayofmonth dayofweek dayofyear degrees dense_rank ends_with exp extract "
        "factorial first first_value floor greatest hex hour isinf isnan isodow lag last last_day last_value lead least left length "
        "levenshtein list list_contains list_distinct list_max list_min list_reverse_sort list_slice list_sort list_value ln log lower "
        "lpad make_date make_timestamp max md5 median min minute month monthname nth_value ntile percent_rank pi position pow power "
        "product quantile_cont quantile_disc quarter radians rank regexp_extract regexp_full_match regexp_matches regexp_replace repeat "
        "replace reverse right round row row_number rpad second sha1 sha256 sign sin sinh split_part sqrt starts_with stddev stddev_pop "
        "stddev_samp str_split str_split_regex strftime strpos strptime struct_extract substr substring sum tan tanh timezone "
        "to_days to_hours to_microseconds to_milliseconds to_minutes to_months to_quarters to_seconds to_timestamp to_weeks to_years "
        "to_decades to_centuries to_millennia translate trim trunc unicode unnest upper var_pop var_samp variance week weekofyear xor "
        "year epoch_ms epoch"
    ).split()
)
ALLOWED = OPERATORS | WRITTEN | functions.ANONYMOUS_QUERY_FUNCTIONS
TYPES = frozenset(
    (
        "BOOLEAN TINYINT SMALLINT INTEGER INT BIGINT HUGEINT INT128 UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT UINT128 FLOAT REAL "
        "DOUBLE DECIMAL VARCHAR TEXT BLOB BIT UUID DATE TIME TIMETZ TIMESTAMP TIMESTAMPTZ TIMESTAMP_S TIMESTAMP_MS TIMESTAMP_NS INTERVAL "
        "LIST ARRAY STRUCT MAP"
    ).split()
) | {"TIMESTAMP WITH TIME ZONE", "TIME WITH TIME ZONE"}


def objections(connection: duckdb.DuckDBPyConnection, expression: str, columns: Collection[str]) -> list[str]:
    """What DuckDB finds in the SQL of a row expression that should not be there; a text that it cannot read does nothing."""
    sql = f"SELECT {expression} FROM r0"
    return _objections(connection, sql, {"r0"}, lambda select: _one_column(select, columns))


def query_objections(connection: duckdb.DuckDBPyConnection, sql: str, tables: Collection[str]) -> list[str]:
    """The same of a query that may read these tables."""
    return _objections(connection, sql, set(tables), lambda select: [])


def _objections(connection: duckdb.DuckDBPyConnection, sql: str, tables: set[str], look: Any) -> list[str]:
    try:
        statements = connection.extract_statements(sql)
    except duckdb.ParserException:
        return []
    except duckdb.Error as error:
        return [str(error)]
    if len(statements) != 1:
        return [f"{len(statements)} statements"]
    ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    tree = json.loads(text)
    if tree["error"]:
        return [tree["error_message"]]
    found = list(look(tree["statements"][0]["node"]))
    for node in _nodes(tree):
        found += _of(node, tables | _ctes(tree))
    return found


def _one_column(select: Mapping[str, Any], columns: Collection[str]) -> list[str]:
    if select["type"] != "SELECT_NODE":
        return [str(select["type"])]
    found = [] if len(select["select_list"]) == 1 else [f"{len(select['select_list'])} columns"]
    if select["from_table"]["type"] != "BASE_TABLE" or select["where_clause"] or select["modifiers"]:
        found.append("more than one SELECT of one table")
    for node in _nodes(select):
        if node.get("class") == "COLUMN_REF" and (len(node["column_names"]) != 1 or node["column_names"][0] not in columns):
            found.append(f"column {node['column_names']}")
        if node.get("class") in ("SUBQUERY", "WINDOW", "STAR", "LAMBDA", "LAMBDA_REF", "PARAMETER", "POSITIONAL_REFERENCE"):
            found.append(str(node["class"]))
    return found


def _of(node: Mapping[str, Any], tables: Collection[str]) -> Iterator[str]:
    if node.get("class") in ("FUNCTION", "WINDOW") and (node["function_name"].lower() not in ALLOWED or node["schema"] or node["catalog"]):
        yield f"function {node['schema']}.{node['function_name']}"
    if node.get("class") == "TYPE" and (node["type_name"].upper() not in TYPES or node["schema"] or node["catalog"]):
        yield f"type {node['type_name']}"
    if node.get("type") == "BASE_TABLE" and (node["table_name"] not in tables or node["schema_name"] or node["catalog_name"]):
        yield f"table {node['table_name']}"
    if node.get("type") in ("PIVOT", "SHOW_REF") or (
        node.get("type") == "TABLE_FUNCTION" and node["function"]["function_name"] != "unnest"
    ):
        yield str(node["type"])
    if node.get("sample"):
        yield "a sample"


def _ctes(tree: Any) -> set[str]:
    return {entry["key"] for node in _nodes(tree) for entry in (node.get("cte_map") or {}).get("map", ())}


def _nodes(tree: Any) -> Iterator[Mapping[str, Any]]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
