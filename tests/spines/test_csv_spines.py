"""Spines in CSV files: ISO 8601 or a declared format, by every interface, and errors with file, line and column."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from featurestore import Csv, Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, connect
from featurestore.cli import main
from featurestore.cli.csv_format import parse_format
from featurestore.errors import RequestError
from tests import shop
from tests.worlds import STAMP, load_source

pytestmark = pytest.mark.slow

GERMAN = Csv(delimiter=";", decimal=",", thousands=".", null=("k.A.",), timestamp="%d.%m.%Y %H:%M", types={"plz": "string"})
ROWS = "kunde;zeit;betrag;plz\r\n1;03.04.2026 01:00;1.234,5;01067\r\n1;01.02.2026 12:30;k.A.;80331\r\n2;28.02.2026 00:00;-0,25;k.A.\r\n"
OPTIONS = [
    part
    for told in ("delimiter=;", "decimal=,", "thousands=.", "null=k.A.", "timestamp=%d.%m.%Y %H:%M", "types.plz=string")
    for part in ("--format", told)
]
WANTED = [
    {"kunde": 1, "zeit": datetime(2026, 4, 3, 1, tzinfo=UTC), "betrag": 1234.5, "plz": "01067", "v": 20},
    {"kunde": 1, "zeit": datetime(2026, 2, 1, 12, 30, tzinfo=UTC), "betrag": None, "plz": "80331", "v": 10},
    {"kunde": 2, "zeit": datetime(2026, 2, 28, tzinfo=UTC), "betrag": -0.25, "plz": None, "v": None},
]
"""Day first; month first, the first row would see 10, and the others be no dates at all."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """A customer with a value from January on, and another one from March 10."""
    with FeatureStore(settings=Settings(home=tmp_path_factory.mktemp("csv"))) as made:
        at = pa.array([datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 3, 10, tzinfo=UTC)], STAMP)
        load_source(made, "raw.a", pa.table({"kunde": [1, 1], "t": at, "v": [10, 20]}))
        view = FeatureView("a", entity=Entity("e", keys="kunde"), source=Source("a", table="raw.a", timestamp="t"), features=["v"])
        made.apply([FeatureService("s", features=[view])])
        made.materialize(end="2026-05-01")
        yield made


@pytest.fixture
def spine(tmp_path: Path) -> Path:
    """A file as German spreadsheets write it."""
    path = tmp_path / "fragen.csv"
    path.write_text(ROWS, newline="")
    return path


def test_a_format_says_how_a_spine_is_written(store: FeatureStore, spine: Path) -> None:
    assert store.point_in_time("s", spine, "zeit", format=GERMAN).to_pylist() == WANTED
    made = store.training_set("s", str(spine), "zeit", format=GERMAN)
    assert made.to_arrow().to_pylist() == WANTED
    same = pa.Table.from_pylist([{name: row[name] for name in ("kunde", "zeit", "betrag", "plz")} for row in WANTED])
    assert store.training_set("s", same, "zeit").id == made.id


def test_the_same_day_is_another_one_month_first(store: FeatureStore, tmp_path: Path) -> None:
    (tmp_path / "us.csv").write_text("kunde,zeit\n1,03/09/2026\n1,03/11/2026\n")
    read: list[Any] = [store.point_in_time("s", tmp_path / "us.csv", "zeit", format=Csv(date=form)) for form in ("%m/%d/%Y", "%d/%m/%Y")]
    assert [table.column("v").to_pylist() for table in read] == [[10, 20], [20, 20]]


def test_without_a_format_a_time_that_is_not_iso_8601_is_told_with_its_place(store: FeatureStore, tmp_path: Path) -> None:
    path = tmp_path / "us.csv"
    path.write_text('kunde,note,zeit\n1,"two\nlines",2026-03-11\n1,x,03/11/2026\n')
    with pytest.raises(RequestError, match=r"us\.csv, line 4, column 'zeit': '03/11/2026' is not .*format=Csv\(date=") as caught:
        store.point_in_time("s", path, "zeit")
    told = caught.value.details
    assert (told["line"], told["column"], told["value"]) == (4, "zeit", "03/11/2026")
    with pytest.raises(RequestError, match=r"us\.csv, line 2, column 'zeit': '2026-03-11' is not"):
        store.point_in_time("s", path, "zeit", format=Csv(date="%m/%d/%Y"))


def test_a_server_is_sent_the_rows_as_the_format_reads_them(store: FeatureStore, spine: Path) -> None:
    with shop.serving(store, jobs=True) as url, connect(url) as remote:
        assert remote.point_in_time("s", spine, "zeit", format=GERMAN).to_pylist() == WANTED
        assert remote.training_set("s", spine, "zeit", name="far", format=GERMAN).to_arrow().to_pylist() == WANTED
        with pytest.raises(RequestError, match=r"fragen\.csv, line 2, column 'zeit': '03.04.2026 01:00' is not"):
            remote.point_in_time("s", spine, "zeit", format=Csv(delimiter=";"))


def test_the_command_line_takes_a_format_field_by_field(store: FeatureStore, spine: Path) -> None:
    asked = ["training-set", "s", "--home", str(store.settings.home), "--spine", str(spine), "--timestamp", "zeit", "--name", "shell"]
    done = CliRunner().invoke(main, [*asked, *OPTIONS])
    assert done.exit_code == 0, done.stderr
    stored = next(training_set for training_set in store.training_sets() if training_set["name"] == "shell")
    assert store.get_training_set(stored["id"]).to_arrow().to_pylist() == WANTED
    for wrong, said in (
        (["--format", "delimeter=;"], "did you mean 'delimiter'"),
        (["--format", "delimiter"], "is not FIELD=VALUE"),
        (["--format", "date=%Y", "--format", "date=%y"], "date is given twice"),
    ):
        refused = CliRunner().invoke(main, [*asked, *wrong])
        assert (refused.exit_code, said in refused.stderr) == (2, True), refused.stderr


def test_what_the_command_line_tells_is_the_same_format() -> None:
    assert parse_format(tuple(OPTIONS[1::2])) == GERMAN
    assert parse_format(("null=", "null=NA", "encoding=latin-1")) == Csv(null=("", "NA"), encoding="latin-1")
    assert parse_format(()) is None


@pytest.mark.parametrize(
    "spine, form, said",
    [
        ("x.parquet", Csv(), "the spine is no path that ends in .csv"),
        ([{"kunde": 1, "zeit": "2026-01-01"}], Csv(), "the spine is no path"),
        ("iceberg:raw.a", Csv(), "the spine is no path"),
        ("SELECT kunde, t AS zeit FROM raw.a", Csv(), "the spine is no path"),
        ("x.csv", Csv(delimiter="||"), r"format\.delimiter '\|\|' is not one character"),
        ("x.csv", {"delimiter": ";"}, "give a Csv"),
    ],
)
def test_a_format_that_cannot_be_meant_is_refused(store: FeatureStore, spine: Any, form: Any, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        store.point_in_time("s", spine, "zeit", format=form)
    with pytest.raises(RequestError, match="there is no spine"):
        store.point_in_time("s", start="2026-01-01", end="2026-01-02", every="1d", format=Csv())
