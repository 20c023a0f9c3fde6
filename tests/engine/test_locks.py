"""What hostile statements can reach if the check of user SQL is bypassed."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import Settings
from featurestore.compiler.query import text_query
from featurestore.compiler.relations import Column, IcebergFiles, parquet_files
from featurestore.engine.duck import DuckEngine, DuckSession
from featurestore.engine.evaluator import Evaluator
from featurestore.engine.memory import memory_session
from featurestore.errors import FeatureStoreError, RequestError

SECRET = "canary-4711"

READS = (
    "SELECT * FROM '{secret}'",
    "SELECT * FROM read_csv('{secret}')",
    "SELECT * FROM read_text('{secret}')",
    "SELECT * FROM read_blob('{secret}')",
    "SELECT * FROM read_text('{link}')",
    "SELECT * FROM read_text('{granted}/../secret.csv')",
    "SELECT * FROM read_json('{secret}')",
    "SELECT * FROM read_parquet('{secret}')",
    "SELECT * FROM sniff_csv('{secret}')",
    "SELECT * FROM parquet_schema('{secret}')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM glob('/proc/self/*')",
    "SELECT * FROM read_text('/proc/self/environ')",
    "SELECT getenv('CANARY')",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM which_secret('s3://x/y', 's3')",
    "SELECT * FROM query('SELECT * FROM read_text(''{secret}'')')",
    "SELECT * FROM query_table('{secret}')",
    "SELECT * FROM read_duckdb('{secret}')",
    "SELECT * FROM python_frame",
    'WITH "{secret}" AS (SELECT * FROM "{secret}") SELECT * FROM "{secret}"',
)
ACTS = (
    "COPY (SELECT 1) TO '{written}'",
    "COPY (SELECT 1) TO '{granted}/written.csv'",
    "COPY made FROM '{secret}'",
    "SELECT 1; COPY (SELECT 1) TO '{written}'",
    "SELECT 1); COPY (SELECT 1) TO '{written}'; --",
    "CREATE TABLE kept AS SELECT 1; SELECT 2",
    "EXPORT DATABASE '{written}'",
    "IMPORT DATABASE '{folder}'",
    "ATTACH '{written}'",
    "ATTACH '{written}' AS other (TYPE sqlite)",
    "INSTALL httpfs",
    "INSTALL httpfs FROM community",
    "LOAD httpfs",
    "LOAD '{secret}'",
    "SET threads = 1",
    "SET GLOBAL timezone = 'Asia/Tokyo'",
    "SET timezone = 'Asia/Tokyo'",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "SET allowed_directories = ['/']",
    "SET temp_directory = '{folder}'",
    "SET VARIABLE lower = 5",
    "RESET timezone",
    "RESET lock_configuration",
    "PRAGMA threads = 1",
    "PRAGMA enable_profiling",
    "CALL enable_logging()",
    "CALL pragma_version()",
    "CREATE SECRET s (TYPE s3)",
    "CREATE PERSISTENT SECRET s (TYPE s3)",
    "USE system",
    "CHECKPOINT",
    "VACUUM",
    "PREPARE p AS SELECT 1",
    "EXPLAIN ANALYZE SELECT 1",
    "BEGIN",
    "",
)
SETTINGS = ("timezone", "threads", "enable_external_access", "lock_configuration", "allowed_directories", "temp_directory")


class World:
    """A secret file beside a folder that may be read, which has a link to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = folder / "secret.csv"
        self.secret.write_text(f"a\n{SECRET}\n")
        self.granted = folder / "granted"
        self.granted.mkdir()
        self.link = self.granted / "link.csv"
        self.link.symlink_to(self.secret)
        self.written = folder / "written"

    def fill(self, sql: str) -> str:
        return sql.format(secret=self.secret, link=self.link, granted=self.granted, folder=self.folder, written=self.written)

    def files(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file() and "spill" not in path.parts}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("CANARY", SECRET)
    return World(tmp_path)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[DuckEngine]:
    engine = DuckEngine(Settings(home=tmp_path / "home"))
    yield engine
    engine.close()


Open = Callable[[DuckEngine, World], AbstractContextManager[DuckSession]]
OPENED: dict[str, Open] = {
    "closed session": lambda engine, world: engine.session(),
    "session with a folder": lambda engine, world: engine.session([world.granted]),
    "brief": lambda engine, world: engine.brief(),
    "testing": lambda engine, world: memory_session(),
}


@pytest.fixture(params=OPENED)
def session(request: pytest.FixtureRequest, engine: DuckEngine, world: World) -> Iterator[DuckSession]:
    with OPENED[request.param](engine, world) as session:
        session.create_table("made", text_query("SELECT 1 AS a"))
        yield session


def settings_of(session: DuckSession) -> list[object]:
    rows = session.batches(text_query(f"SELECT {', '.join(f'current_setting({name!r})' for name in SETTINGS)}")).read_all().to_pylist()
    return list(rows)


def test_no_statement_reads_or_writes_or_changes_anything(session: DuckSession, world: World) -> None:
    python_frame = pa.table({"a": [SECRET]})
    before, settings = world.files(), settings_of(session)
    for sql in map(world.fill, [*READS, *ACTS]):
        for way in (session._run, lambda text: session.batches(text_query(text)).read_all()):
            with pytest.raises(FeatureStoreError) as refused:
                way(sql)
            assert SECRET not in str(refused.value), sql
        # Some functions have the same columns whatever they read: binding them reads nothing.
        with suppress(FeatureStoreError):
            assert SECRET not in str(session.schema(text_query(sql)))
    for sql in map(world.fill, READS):
        with pytest.raises(FeatureStoreError):
            session.create_table("stolen", text_query(f"{sql}"))
        with pytest.raises(FeatureStoreError):
            session.batches(text_query(f"SELECT (SELECT max(x) FROM ({sql}) t(x)) AS y FROM made")).read_all()
    assert world.files() == before
    assert settings_of(session) == settings
    assert python_frame.num_rows == 1
    assert session.schema(text_query("SELECT * FROM made")) == {"a": "INTEGER"}


def test_a_text_that_is_written_cannot_be_two(engine: DuckEngine, world: World) -> None:
    with engine.session([world.granted]) as session:
        hostile = f"SELECT 1 AS a) TO '{world.written}'; COPY (SELECT 2 AS a"
        with pytest.raises(RequestError):
            session.write(text_query(hostile), world.granted / "new", {"a": 1}, 2048)
    assert not world.written.exists()


def test_an_evaluator_reads_nothing(world: World) -> None:
    evaluator = Evaluator("1GB")
    for sql in map(world.fill, READS):
        with pytest.raises(FeatureStoreError):
            evaluator.evaluate([f"(SELECT max(x) FROM ({sql}) t(x))"], {})
    for sql in ("1); COPY (SELECT 1) TO '{written}'; --", "1 AS a FROM (SELECT 1); COPY (SELECT 1 AS a) TO '{written}'; SELECT (1"):
        with pytest.raises(FeatureStoreError):
            evaluator.evaluate([world.fill(sql)], {})
    assert not world.written.exists()
    evaluator.close()


def test_a_session_reads_and_writes_the_files_of_its_folders(engine: DuckEngine, world: World) -> None:
    ids = {"a": 1}
    columns = (Column(1, "a", "INTEGER"),)
    with engine.session([world.granted]) as session:
        rows, files = session.write(text_query("SELECT 7 AS a"), world.granted / "new", ids, 2048)
        assert (rows, len(files)) == (1, 1)
        session.add("back", IcebergFiles((str(files[0]),), columns))
        assert session.batches(text_query("SELECT * FROM back")).read_all().to_pylist() == [{"a": 7}]


def test_what_lies_elsewhere_is_copied_for_a_session(engine: DuckEngine, world: World) -> None:
    """By code of ours that names the files; the session itself cannot open them before or after."""
    elsewhere = world.folder / "elsewhere" / "month=3" / "a.parquet"
    elsewhere.parent.mkdir(parents=True)
    pq.write_table(pa.table({"a": pa.array([1, 2], pa.int32())}), elsewhere)
    with engine.session() as session:
        session.add("rows", parquet_files(str(elsewhere)))
        for _ in range(2):
            joined = session.batches(text_query("SELECT x.a FROM rows x JOIN rows y USING (a) ORDER BY a")).read_all().to_pylist()
            assert joined == [{"a": 1}, {"a": 2}]
        with pytest.raises(RequestError):
            session.schema(text_query(f"SELECT * FROM '{elsewhere}'"))
        rows, files = session.write(text_query("SELECT 7 AS a"), world.folder / "out" / "new", {"a": 1}, 2048)
        assert rows == 1
        assert [pq.read_table(file).to_pylist() for file in files] == [[{"a": 7}]]
        assert files[0].parent == world.folder / "out" / "new"


def test_a_folder_that_is_a_link_is_reached(engine: DuckEngine, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "real" / "a.parquet")
    with engine.session([tmp_path / "link"]) as session:
        session.add("rows", parquet_files(str(tmp_path / "link" / "a.parquet")))
        assert session.batches(text_query("SELECT * FROM rows")).read_all().to_pylist() == [{"a": 1}]
        assert session.schema(text_query(f"SELECT * FROM '{tmp_path / 'real' / 'a.parquet'}'")) == {"a": "BIGINT"}


def test_a_locked_session_spills(tmp_path: Path) -> None:
    engine = DuckEngine(Settings(home=tmp_path / "home", memory_limit="80MB", threads=1))
    with engine.session() as session:
        session.create_table("many", text_query("SELECT range AS a, hash(range) AS b, hash(range + 1) AS c FROM range(6_000_000)"))
        assert list((tmp_path / "home" / "spill").rglob("*.tmp"))
        (row,) = session.batches(text_query("SELECT count(*) AS n, sum(a) AS s FROM many")).read_all().to_pylist()
        assert (row["n"], int(row["s"])) == (6_000_000, 5_999_999 * 3_000_000)
    assert not list((tmp_path / "home" / "spill").iterdir())
    assert os.listdir(tmp_path / "home") == ["spill"]
