"""CSV files: types from all rows or from a declared format, and errors with file, line, column and text."""

import gzip
from collections.abc import Iterator
from datetime import UTC, date, datetime
from datetime import time as clock_time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from featurestore import Csv, Entity, FeatureService, FeatureStore, FeatureView, Source
from featurestore.errors import DefinitionError, FeatureStoreError, NotFound, RequestError
from tests.sources.reading import Reading, reading

T = datetime(2026, 3, 1, 12, tzinfo=UTC)


def naive(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0, micros: int = 0) -> datetime:
    return datetime.combine(date(year, month, day), clock_time(hour, minute, second, micros))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reading]:
    with reading(tmp_path_factory.mktemp("home")) as opened:
        yield opened


def put(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    "texts, kind, values",
    [
        (["1", "-20", "0", " 7 "], "BIGINT", [1, -20, 0, 7]),
        ([str(2**63 - 1), str(-(2**63))], "BIGINT", [2**63 - 1, -(2**63)]),
        ([str(2**63)], "VARCHAR", [str(2**63)]),
        (["1", "1.5", ".5", "1e3", "-0"], "DOUBLE", [1.0, 1.5, 0.5, 1000.0, -0.0]),
        ([str(2**53 + 1), "1.5"], "VARCHAR", [str(2**53 + 1), "1.5"]),
        (["007", "8"], "VARCHAR", ["007", "8"]),
        (["+49", "8"], "VARCHAR", ["+49", "8"]),
        (["1e999"], "VARCHAR", ["1e999"]),
        (["1,234", "5"], "VARCHAR", ["1,234", "5"]),
        (["true", "False", "TRUE"], "BOOLEAN", [True, False, True]),
        (["yes", "no"], "VARCHAR", ["yes", "no"]),
        (["2026-03-01", "0099-12-31"], "DATE", [date(2026, 3, 1), date(99, 12, 31)]),
        (["2026-02-30"], "VARCHAR", ["2026-02-30"]),
        (["01/02/2026", "03/04/2026"], "VARCHAR", ["01/02/2026", "03/04/2026"]),
        (["2026/01/02"], "VARCHAR", ["2026/01/02"]),
        (["20260102"], "BIGINT", [20260102]),
        (["2026-03-01 12:00", "2026-03-01T12:00:00.123456789"], "TIMESTAMP",
         [naive(2026, 3, 1, 12), naive(2026, 3, 1, 12, 0, 0, 123456)]),
        (["2026-03-01", "2026-03-02 20:00:00"], "TIMESTAMP", [naive(2026, 3, 1), naive(2026, 3, 2, 20)]),
        (["2026-03-01T12:00:00Z", "2026-03-01T12:00:00+0230", "2026-03-01 12:00:00", "2026-03-01"], "TIMESTAMP WITH TIME ZONE",
         [T, datetime(2026, 3, 1, 9, 30, tzinfo=UTC), T, datetime(2026, 3, 1, tzinfo=UTC)]),
        (["2026-03-01 24:00:00"], "VARCHAR", ["2026-03-01 24:00:00"]),
        (["1", "x", '""'], "VARCHAR", ["1", "x", None]),
        (["NULL", "NA", "nan"], "VARCHAR", ["NULL", "NA", "nan"]),
        (["1", '""', "2"], "BIGINT", [1, None, 2]),
    ],
)  # fmt: skip
def test_types_are_inferred_from_every_row(files: Reading, tmp_path: Path, texts: list[str], kind: str, values: list[Any]) -> None:
    lines = [f'"{text}"' if "," in text else text for text in texts]
    path = put(tmp_path / "a.csv", "".join(f"{number},{text}\n" for number, text in [("n", "x"), *enumerate(lines)]))
    assert files.types(path)["x"] == kind
    assert list(map(str, (row[1] for row in files.rows(path)))) == list(map(str, values))
    # The same in two files.
    put(tmp_path / "b" / "1.csv", f"n,x\n0,{lines[0]}\n")
    put(tmp_path / "b" / "2.csv", "".join(["n,x\n", *(f"0,{text}\n" for text in lines[1:])]))
    assert files.types(tmp_path / "b" / "*.csv")["x"] == kind
    assert list(map(str, (row[1] for row in files.rows(tmp_path / "b" / "*.csv")))) == list(map(str, values))


GERMAN = Csv(delimiter=";", decimal=",", thousands=".", date="%d.%m.%Y", timestamp="%d.%m.%Y %H:%M", null=("", "k.A."))


def test_a_declared_format_reads_what_other_countries_write(files: Reading, tmp_path: Path) -> None:
    path = put(tmp_path / "de.csv", "k;t;d;preis;n\n007;31.01.2026 18:30;01.02.2026;1.234,56;1.000\n8;01.02.2026 00:00;k.A.;-0,5;7\n")
    assert files.types(path, GERMAN) == {"k": "VARCHAR", "t": "TIMESTAMP", "d": "DATE", "preis": "DOUBLE", "n": "BIGINT"}
    assert files.rows(path, GERMAN) == [
        ("007", naive(2026, 1, 31, 18, 30), date(2026, 2, 1), 1234.56, 1000),
        ("8", naive(2026, 2, 1), None, -0.5, 7),
    ]
    us = put(tmp_path / "us.csv", 'k,t,v\n1,01/02/2026,"1,234.5"\n1,04/25/2026,3\n')
    american = Csv(date="%m/%d/%Y", thousands=",")
    assert files.rows(us, american, "t") == [(1, date(2026, 1, 2), 1234.5), (1, date(2026, 4, 25), 3.0)]
    with pytest.raises(RequestError, match=r"us.csv, line 3, column 't': '04/25/2026' is not a date or time written as %d/%m/%Y"):
        files.open(us, Csv(date="%d/%m/%Y"), "t")
    with pytest.raises(RequestError, match=r"line 2, column 't': '01/02/2026' is not a date or time in ISO 8601.*format=Csv\(date="):
        files.open(us, None, "t")
    short = put(tmp_path / "short.csv", "k,t\n1,01/02/26\n")
    with pytest.raises(RequestError, match="'01/02/26' is not"):
        files.open(short, Csv(date="%d/%m/%Y"), "t")
    zoned = put(tmp_path / "zoned.csv", "k,t\n1,01.03.2026 14:00 +0200\n")
    assert files.rows(zoned, Csv(timestamp="%d.%m.%Y %H:%M %z"), "t") == [(1, T)]


def test_declared_types_are_what_is_read(files: Reading, tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", "a,b,c,d,e,f,g\n007,007,1.50,t,1,2026-03-01T12:00:00Z,8b7d1a2e-0000-0000-0000-000000000001\n")
    types = {"a": "bigint", "b": "string", "c": "decimal(5,1)", "d": "boolean", "e": "double", "f": "timestamp", "g": "uuid"}
    assert files.types(path, Csv(types=types)) == {
        "a": "BIGINT",
        "b": "VARCHAR",
        "c": "DECIMAL(5,1)",
        "d": "BOOLEAN",
        "e": "DOUBLE",
        "f": "TIMESTAMP WITH TIME ZONE",
        "g": "UUID",
    }
    assert files.rows(path, Csv(types=types))[0][:6] == (7, "007", Decimal("1.5"), True, 1.0, T)
    with pytest.raises(NotFound, match=r"no column 'bb'.*did you mean 'b'"):
        files.open(path, Csv(types={"bb": "string"}))


@pytest.mark.parametrize(
    "text, kind, said",
    [
        ("1.5", "bigint", "a whole number"),
        ("3000000000", "int", "a whole number"),
        ("1.239", "decimal(10,2)", r"a number that fits DECIMAL\(10,2\)"),
        ("12345", "decimal(5,2)", r"a number that fits DECIMAL\(5,2\)"),
        ("abc", "double", "a number"),
        ("1e400", "double", "a number"),
        ("2", "boolean", "true or false"),
        ("01/02/2026", "date", "a date such as 2026-03-31"),
        ("1 March", "timestamp", "a date or time in ISO 8601"),
        ("xyz", "uuid", "a UUID"),
    ],
)
def test_what_is_not_of_a_declared_type_is_told_with_its_place(files: Reading, tmp_path: Path, text: str, kind: str, said: str) -> None:
    put(tmp_path / "a.csv", "n,x\n1,\n")
    put(tmp_path / "b.csv", f'n,x\n"two\nlines",\n\n2,{text}\n')
    with pytest.raises(RequestError, match=rf"b.csv, line 5, column 'x': '{text}' is not {said}") as raised:
        files.open(tmp_path / "*.csv", Csv(types={"x": kind}))
    assert {name: raised.value.details[name] for name in ("line", "column", "value")} == {"line": 5, "column": "x", "value": text}


@pytest.mark.parametrize(
    "content, rows",
    [
        ("a,b\r\n1,x\r\n2,y\r\n", [(1, "x"), (2, "y")]),
        ("\ufeffa,b\n1,x\n", [(1, "x")]),
        ('a,b\n1,"x\ny, ""z"""\n2,w', [(1, 'x\ny, "z"'), (2, "w")]),
        ("a,b\n1,x\n\n\n2,y\n\n", [(1, "x"), (2, "y")]),
        ("a,b,\n1,x,\n2,y,\n", [(1, "x"), (2, "y")]),
        ("a,b\n1,x,\n", [(1, "x")]),
        ("a,b\n1,#x\n", [(1, "#x")]),
        ('"a","b"\n"1","x"\n', [(1, "x")]),
    ],
    ids=["crlf", "bom", "quotes", "empty lines", "delimiter at the end", "delimiter at the end of rows", "hash", "quoted"],
)
def test_what_files_of_all_sorts_hold(files: Reading, tmp_path: Path, content: str, rows: list[Any]) -> None:
    assert files.rows(put(tmp_path / "a.csv", content)) == rows
    assert files.rows(put(tmp_path / "b.csv.gz", gzip.compress(content.encode()))) == rows


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "line 1 is empty"),
        (b"\n\n", "line 1 is empty"),
        (b"a,b\n1,2\n3\n", r"line 3 has 1 values where the header names 2 columns: '3'"),
        (b"a,b\n1,2\n3,4,5\n", r"line 3 has 3 values where the header names 2 columns: '3,4,5'"),
        (b"a,b,\n1,2,3\n", r"line 2 has 3 values where the header names 2 columns"),
        (b'a,b\n1,"x\n2,y\n', "cannot be read as CSV"),
        (b'a,b\n1,"x"y\n', "line 2 cannot be read as CSV"),
        (b"a,b\n1,2\r\n3,4\n", r"line 2 ends in \\r\\n and the lines before in \\n"),
        (b"a,A\n1,2\n", "line 1 has 'A' for columns 1 and 2"),
        (b"a,,b\n1,2,3\n", "line 1 has no name for column 2"),
        (b"a;b\n1;2\n", r"line 1 has ';' between its columns, not ','; declare it: format=Csv\(delimiter=';'"),
        (b"a\tb\n1\t2\n", "between its columns"),
        ("a,b\n1,x\n2,Käse\n".encode("latin-1"), r"line 3 is not utf-8; declare the encoding, format=Csv\(encoding='latin-1'\)"),
        ("a,b\n1,x\n".encode("utf-16"), r"line 1 is UTF-16, not UTF-8; declare it: format=Csv\(encoding='utf-16'\)"),
    ],
)
def test_what_cannot_be_read_is_told_with_file_and_line(files: Reading, tmp_path: Path, content: bytes, said: str) -> None:
    put(tmp_path / "0.csv", "a,b\n1,2\n")
    put(tmp_path / "1.csv", content)
    with pytest.raises(RequestError, match=f"1.csv,? .*{said}|1.csv, {said}"):
        files.open(tmp_path / "*.csv")


def test_encodings_are_declared(files: Reading, tmp_path: Path) -> None:
    text = "a,b\n1,Käse\n2,straße\n"
    for encoding, python in (("latin-1", "latin-1"), ("utf-16", "utf-16-le")):
        mark = "\ufeff" if encoding == "utf-16" else ""
        path = put(tmp_path / f"{python}.csv", f"{mark}{text}".encode(python))
        assert files.rows(path, Csv(encoding=encoding)) == [(1, "Käse"), (2, "straße")]
    for name, content in (("unmarked", text.encode("utf-16-le")), ("big", f"\ufeff{text}".encode("utf-16-be"))):
        with pytest.raises(RequestError, match=f"{name}.csv, line 1 does not begin with the mark FF FE"):
            files.open(put(tmp_path / f"{name}.csv", content), Csv(encoding="utf-16"))


def test_a_header_alone_is_a_file_without_rows(files: Reading, tmp_path: Path) -> None:
    put(tmp_path / "1.csv", "k,t,v\n")
    put(tmp_path / "2.csv", "t,k,v,note\n2026-03-01 12:00:00,1,1.5,n\n")
    put(tmp_path / "3.csv", "k,t,v")
    assert files.types(tmp_path / "*.csv", None, "t") == {"k": "BIGINT", "t": "TIMESTAMP", "v": "DOUBLE", "note": "VARCHAR"}
    assert files.rows(tmp_path / "*.csv", None, "t") == [(1, naive(2026, 3, 1, 12), 1.5, "n")]
    opened = files.open(tmp_path / "1.csv", None, "t")
    assert getattr(opened, "unknown", None) == ("k", "t", "v")
    assert files.types(tmp_path / "1.csv", None, "t")["t"] == "TIMESTAMP WITH TIME ZONE"


def service(path: object, **more: Any) -> FeatureService:
    source = Source("c", path=str(path), timestamp="t", **more)
    return FeatureService("s", features=[FeatureView("g", entity=Entity("e", keys="k"), source=source, features=["v"])])


def value_at(store: FeatureStore, when: str) -> list[Any]:
    return [row["v"] for row in store.point_in_time("s", [{"k": 1, "now": when}], "now").to_pylist()]


@pytest.mark.slow
def test_a_later_row_never_changes_what_was_read(tmp_path: Path) -> None:
    path = put(tmp_path / "d" / "a.csv", "k,t,v\n1,2026-01-02,1\n1,2026-03-04,2\n")
    store = FeatureStore(home=tmp_path / "home")
    store.apply([service(tmp_path / "d" / "*.csv")])
    store.materialize()
    for text, said in (
        ("1,04/25/2026,3\n", "column 't': '04/25/2026' is not a date"),
        ("1,2026-04-25,3.5\n", "column 'v': '3.5' is not a whole number; earlier runs read the column as BIGINT; declare"),
        ("1,2026-04-25,007\n", "column 'v': '007' is not a whole number"),
        ("1,2026-04-25 10:00:00,3\n", "column 't': '2026-04-25 10:00:00' is not a date"),
        ("1,2026-04-25\n", "has 2 values"),
    ):
        with path.open("a") as file:
            file.write(text)
        with pytest.raises(RequestError, match=f"view g: source c: .*a.csv, line 4,? {said}|view g: .*a.csv, line 4 {said}"):
            store.materialize()
        assert value_at(store, "2026-03-10") == [2]
        path.write_text("k,t,v\n1,2026-01-02,1\n1,2026-03-04,2\n")
    put(tmp_path / "d" / "b.csv", "k,t,v\n")
    put(tmp_path / "d" / "c.csv", "v,k,t\n4,1,2026-04-25\n")
    assert store.materialize()[0].corrections == 0
    assert (value_at(store, "2026-03-10"), value_at(store, "2026-05-01")) == ([2], [4])
    # Of all rows gone the types are known.
    for name in "ac":
        put(tmp_path / "d" / f"{name}.csv", "k,t,v\n")
    store.materialize()


@pytest.mark.slow
def test_declaring_a_format_is_a_new_version_and_survives(tmp_path: Path) -> None:
    path = put(tmp_path / "us.csv", "k,t,v\n1,01/02/2026,1\n1,03/04/2026,2\n")
    store = FeatureStore(home=tmp_path / "home")
    with pytest.raises(DefinitionError, match=r"source 'c': .*us.csv, line 2, column 't': '01/02/2026' is not"):
        store.apply([service(path)])
    store.apply([service(path, format=Csv(date="%m/%d/%Y", types={"v": "double"}))])
    store.materialize()
    assert (value_at(store, "2026-02-01"), value_at(store, "2026-03-10")) == ([1.0], [2.0])
    with path.open("a") as file:
        file.write("1,04/25/2026,3\n")
    assert FeatureStore(home=tmp_path / "home").materialize()[0].corrections == 0
    assert value_at(store, "2026-03-10") == [2.0]
    plan = store.plan([service(path, format=Csv(date="%m/%d/%Y", types={"v": "bigint"}))])
    assert [step.action for step in plan.steps if step.kind == "view"] == ["new version"]
    same = store.plan([service(path, format=Csv(date="%m/%d/%Y", types={"v": "double"}))])
    assert not same.changed


@pytest.mark.slow
def test_nothing_tells_the_type_of_a_column_without_values(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", "k,t,v\n")
    store = FeatureStore(home=tmp_path / "home")
    with pytest.raises(DefinitionError, match=r"no row has a value in column 'v', so its type is unknown; declare it"):
        store.apply([service(path)])
    store.apply([service(path, format=Csv(types={"k": "bigint", "v": "double"}))])
    assert store.materialize()[0].rows_appended == 0
    path.write_text("k,t,v\n1,2026-01-02,1\n")
    assert store.materialize()[0].rows_appended == 1


@pytest.mark.slow
def test_a_csv_spine_goes_by_the_same_rules(tmp_path: Path) -> None:
    store = FeatureStore(home=tmp_path / "home")
    store.apply([service(put(tmp_path / "a.csv", "k,t,v\n1,2026-01-02,1\n"))])
    store.materialize()
    put(tmp_path / "s" / "1.csv", "k,now,note\n1,2026-01-01,a\n1,2026-01-03 10:00:00,b\n")
    put(tmp_path / "s" / "2.csv", "note,k,now\nc,1,2026-01-02\n")
    put(tmp_path / "s" / "3.csv", "k,now\n1,2026-01-02\n")
    rows = store.point_in_time("s", str(tmp_path / "s" / "*.csv"), "now").to_pylist()
    assert [(row["note"], row["v"]) for row in rows] == [("a", None), ("b", 1), ("c", 1), (None, 1)]
    put(tmp_path / "s" / "4.csv", "k,now\n1,01/02/2026\n")
    with pytest.raises(FeatureStoreError, match=r"01/02/2026|ISO 8601"):
        store.point_in_time("s", str(tmp_path / "s" / "*.csv"), "now")


@pytest.mark.parametrize(
    "source, said",
    [
        (Source("c", path=["a.csv", "b.csv"], timestamp="t"), r"path: is \['a.csv', 'b.csv'\]; give one path or pattern"),  # type: ignore[arg-type]
        (Source("c", path="ftp://server/x.parquet", timestamp="t"), "is none of s3, gs"),
        (Source("c", path="file:///x.parquet", timestamp="t"), "leave 'file://' out"),
        (Source("c", path="a.parquet", timestamp="t", format=Csv()), "there is no path= that ends in .csv"),
        (Source("c", path="a.csv", timestamp="t", format={"decimal": ","}), "give a Csv"),  # type: ignore[arg-type]
        (Source("c", path="a.csv", timestamp="t", format=Csv(delimiter="||")), "is not one character"),
        (Source("c", path="a.csv", timestamp="t", format=Csv(decimal=",", thousands=",")), "stands for something else"),
        (Source("c", path="a.csv", timestamp="t", format=Csv(encoding="cp1252")), "'cp1252' cannot be read"),
        (Source("c", path="a.csv", timestamp="t", format=Csv(date="dd.mm.yyyy")), "use letters of strptime"),
        (Source("c", path="a.csv", timestamp="t", format=Csv(date="%d.%m.%Y %H")), "%H in"),
        (Source("c", path="a.csv", timestamp="t", format=Csv(timestamp="%d.%m. %H:%M")), "has no year"),
        (Source("c", path="a.csv", timestamp="t", format=Csv(types={"v": "number"})), "'number' is no type of a CSV column"),
        (Source("c", path="a.csv", timestamp="t", format=Csv(null=(1,))), "give the texts that mean NULL"),  # type: ignore[arg-type]
    ],
)
def test_what_a_source_says_of_its_files_is_checked(tmp_path: Path, source: Source, said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        FeatureStore(home=tmp_path / "home").plan([source])
