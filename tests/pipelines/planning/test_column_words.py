"""A list of features takes columns as they are, also with names that have a meaning in SQL."""

import re
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from sqlglot import Tokenizer
from sqlglot.dialects.duckdb import DuckDB

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, agg
from featurestore.compiler.expressions import SqlProblem, column_names, parse_row
from featurestore.compiler.features import RowFeature, features_of
from featurestore.dsl.reserved_words import RESERVED_WORDS
from featurestore.errors import DefinitionError
from tests.worlds import STAMP, load_source

THING, SOURCE = Entity("thing", keys="k"), Source("s", table="raw.s", timestamp="at")
OFTEN = ("comment", "desc", "call", "case", "show", "true", "false", "null", "from", "Union", "current_date", "date", "user", "plain")


def words() -> list[str]:
    """What the engine and the parser know by name: key words, functions with and without parentheses."""
    connection = duckdb.connect()
    engine = "SELECT keyword_name FROM duckdb_keywords() UNION SELECT function_name FROM duckdb_functions()"
    found = {str(name).lower() for (name,) in connection.sql(engine).fetchall()}
    connection.close()
    found |= {word.lower() for word in (*DuckDB.Tokenizer.KEYWORDS, *Tokenizer.KEYWORDS, *DuckDB.Parser.FUNCTIONS)}
    found |= {token.name.lower() for token in DuckDB.Parser.NO_PAREN_FUNCTIONS}
    return sorted(word for word in found if re.fullmatch(r"[a-z_][a-z0-9_]*", word))


def is_column(sql: str, name: str) -> bool:
    """Whether row SQL is that column and nothing else."""
    try:
        tree = parse_row(sql)
    except SqlProblem:
        return False
    return type(tree).__name__ == "Column" and column_names(tree) == (name,)


def test_every_word_of_sql_is_taken_as_a_column() -> None:
    taken = words()
    assert len(taken) > 1000
    view = FeatureView("v", entity=THING, source=SOURCE, features=taken)
    features = {feature.name: feature.sql for feature in features_of(view) if isinstance(feature, RowFeature)}
    assert list(features) == taken
    assert [name for name, sql in features.items() if not is_column(sql, name)] == []
    assert {word for word in taken if not is_column(word, word)} >= RESERVED_WORDS & set(taken)


def test_columns_called_like_words_of_sql_keep_their_values(tmp_path: Path) -> None:
    store = FeatureStore(home=tmp_path)
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    rows = {"k": pa.array([1]), "at": pa.array([moment], STAMP), **{name: pa.array([place]) for place, name in enumerate(OFTEN)}}
    load_source(store, "raw.s", pa.table(rows))
    view = FeatureView("v", entity=THING, source=SOURCE, features=list(OFTEN))
    store.apply([FeatureService("all", features=[view])])
    store.materialize()
    (row,) = store.point_in_time("all", [{"k": 1, "t": "2026-01-02"}], "t").select(list(OFTEN)).to_pylist()
    assert row == {name: place for place, name in enumerate(OFTEN)}
    assert store.online_features("all", [{"k": 1}]).rows == (tuple(range(len(OFTEN))),)


@pytest.mark.parametrize("features, every", [({"x": "comment"}, None), ({"x": agg.sum("call", over="1d")}, "1d")], ids=["row", "aggregate"])
def test_where_sql_is_asked_for_the_message_says_how_to_name_the_column(
    tmp_path: Path, features: dict[str, object], every: str | None
) -> None:
    store = FeatureStore(home=tmp_path)
    with pytest.raises(DefinitionError, match=r"""the column of that name is written '"(comment|call)"'"""):
        store.plan([FeatureView("v", entity=THING, source=SOURCE, features=features, every=every)])  # type: ignore[arg-type]
