"""SQL is made in the compiler, and the engine adds a few statements around it; other packages pass queries as values."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import featurestore

ROOT = Path(featurestore.__file__).parent
MAKERS = ("compiler",)
SQL = re.compile(
    r"\bSELECT\b|\b(CREATE|ALTER|DROP)\s+(OR\s+REPLACE\s+)?(TEMP\s+)?(TABLE|VIEW)\b|\bINSERT\s+INTO\b|\bDELETE\s+FROM\b|\bCOPY\s*\("
    r"|\bDESCRIBE\b|\b(GROUP|ORDER|PARTITION)\s+BY\b|\b(SEMI|ANTI|ASOF|CROSS)\s+JOIN\b|\bQUALIFY\b|\bFILTER\s*\(|\bCAST\s*\("
)
STATEMENT = re.compile(r"\s*(ALTER|ATTACH|CALL|COPY|CREATE|DELETE|DESCRIBE|DROP|INSERT|INSTALL|LOAD|PRAGMA|SET|UPDATE|USE)\s")
ENGINE_STATEMENTS = {
    "connection.py": [
        "SET GLOBAL timezone = 'UTC'; SET GLOBAL disabled_optimizers = 'top_n_window_elimination'; SET GLOBAL asof_loop_join_threshold = 0",
        "SET allowed_directories = [{}]",
        "SET enable_external_access = false; SET lock_configuration = true",
        "SET enable_progress_bar = false; {}",
        "SET enable_progress_bar = false; {}; SET lock_configuration = true",
    ],
    "statements.py": [
        "ALTER TABLE {} RENAME TO {}",
        "COPY ({}) TO {} ({})",
        "CREATE OR REPLACE TEMP {} {} AS {}",
        "DESCRIBE {}",
        "DROP {} IF EXISTS {}",
    ],
}
"""Every statement of the engine; what it selects is a query of the compiler."""
TEXT_MAKERS = {"text_query", "text_items", "text_expression", "template", "expression_template"}
TALKS_OF_SQL = {
    "cli/compare_traffic.py": "help",
    "cli/models.py": "help",
    "cli/training_sets.py": "help",
    "client/governance.py": "advice to a user",
    "demo/spine.py": "the demo's own queries, as a user writes them",
    "models/mlflow_access/health.py": "asks the database of MLflow, not the engine",
    "models/prediction_log/spool.py": "a SQLite file of its own, not the engine",
    "pipelines/maintenance/erasure_spool.py": "the SQLite file of models/prediction_log/spool.py, not the engine",
    "pipelines/materialization/materialize.py": "advice to a user",
    "push/postgres_log.py": "a database of its own, not the engine",
    "push/sqlite_log.py": "a SQLite file of its own, not the engine",
    "server/requests/governance.py": "description of a field",
    "server/requests/spines.py": "descriptions of fields, and advice",
    "sources/bind.py": "advice to a user",
    "values/frames.py": "advice to a user",
}
"""Modules whose texts have SQL without making a query of the engine, and what they are."""


def modules() -> list[Path]:
    return [path for path in sorted(ROOT.rglob("*.py")) if path.relative_to(ROOT).parts[0] not in MAKERS]


def modules_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def texts(tree: ast.AST) -> Iterator[str]:
    """The strings of a module, f-strings with {} for their values, without docstrings."""
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner | told:
            yield node.value


def sql_in(source: str) -> list[str]:
    return [text for text in texts(ast.parse(source)) if SQL.search(text)]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_module_makes_sql(path: Path) -> None:
    source = path.read_text()
    name = str(path.relative_to(ROOT))
    if name not in TALKS_OF_SQL:
        own = ENGINE_STATEMENTS.get(path.name, []) if name.startswith("engine/") else []
        assert [text for text in sql_in(source) if text not in own] == []
    imported = {name.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom) for name in node.names}
    assert not imported & TEXT_MAKERS


def test_the_engine_has_few_statements() -> None:
    found = {path.name: [text for text in texts(ast.parse(path.read_text())) if STATEMENT.match(text)] for path in modules_of("engine")}
    assert {name: sorted(set(statements)) for name, statements in found.items() if statements} == ENGINE_STATEMENTS


def test_no_exception_is_left_over() -> None:
    assert [name for name in TALKS_OF_SQL if not sql_in((ROOT / name).read_text())] == []


@pytest.mark.parametrize(
    "source",
    ['f"SELECT {a} FROM {b}"', 'f"CREATE OR REPLACE TEMP TABLE {name} AS {query}"', 'x = f"CAST({a} AS {b})"', '"a" f" ORDER BY {b}"'],
)
def test_sql_is_found(source: str) -> None:
    assert sql_in(f"print({source})" if "=" not in source else source)


def test_a_docstring_is_none() -> None:
    assert not sql_in('def f():\n    """SELECT * FROM t"""\n    return "a selection"')
