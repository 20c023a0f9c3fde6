"""Training sets over HTTP: all kinds of spines, an immediate id, streamed rows, and nothing is lost when a server ends."""

import io
import shutil
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import connect
from featurestore.errors import Conflict, NotFound
from featurestore.pipelines.training_sets.digest import table_digest
from featurestore.pipelines.training_sets.progress import BuildProgress
from tests import shop
from tests.server.conftest import Served
from tests.server.test_errors import error_of

FIELDS = {"service": "churn", "timestamp": "asked_at", "label": "churned"}
ROWS = [{"customer_id": 1, "basket": 40.0, "asked_at": shop.days(1).isoformat(), "churned": True}]


def ask(http: httpx.Client, **request: Any) -> dict[str, Any]:
    """Request a training set, wait for it, and return its state."""
    answer = http.post("/v1/training-sets", **request)
    assert answer.status_code == 202, answer.text
    accepted = answer.json()
    assert accepted["url"] == f"/v1/training-sets/{accepted['id']}"
    state = http.get(accepted["url"], params={"wait": 30}).json()
    assert state["id"] == accepted["id"]
    finished: dict[str, Any] = state
    return finished


def parquet(rows: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(rows, sink)
    return sink.getvalue()


def arrow_file(rows: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows)
    return sink.getvalue()


def arrow_stream(rows: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return sink.getvalue()


@pytest.mark.parametrize("spelled", [parquet, arrow_file, arrow_stream])
def test_an_uploaded_spine_is_the_same_as_one_given_here(served: Served, spelled: Any) -> None:
    state = ask(served.http, data={**FIELDS, "name": spelled.__name__}, files={"spine": ("spine", spelled(shop.spine()))})
    assert state["state"] == "done"
    here = served.store.training_set("churn", shop.spine(), timestamp="asked_at", label="churned", name=spelled.__name__)
    assert state["manifest"] == here.manifest


def test_a_spine_in_json_by_rows_by_table_by_sql(served: Served) -> None:
    rows = ask(served.http, json={**FIELDS, "spine": {"rows": ROWS}})
    assert rows["manifest"]["rows"] == 1
    shop.add(served.store, "shop.spine", shop.spine())
    table = ask(served.http, json={**FIELDS, "spine": {"table": "shop.spine"}})
    query = ask(served.http, json={**FIELDS, "spine": {"sql": "SELECT * FROM shop.spine"}})
    assert table["id"] == query["id"]
    assert table["manifest"]["rows"] == 3


def test_the_same_request_gives_the_same_id_until_snapshots_change(served: Served) -> None:
    request = {**FIELDS, "name": "again", "spine": {"rows": ROWS}}
    first = ask(served.http, json=request)
    again = served.http.post("/v1/training-sets", json=request).json()
    assert (again["id"], again["state"]) == (first["id"], "done")
    profile = shop.profile_rows().slice(0, 1).set_column(0, "customer_id", pa.array([50], pa.int64()))
    shop.add(served.store, "shop.profiles", profile)
    served.store.materialize()
    later = ask(served.http, json=request)
    assert later["id"] != first["id"]
    snapshots = {table: view["snapshot_id"] for table, view in first["manifest"]["views"].items()}
    assert ask(served.http, json={**request, "snapshots": snapshots})["id"] == first["id"]


def test_rows_come_as_arrow_and_as_parquet(served: Served) -> None:
    id = ask(served.http, data=FIELDS, files={"spine": parquet(shop.spine())})["id"]
    expected = served.store.get_training_set(id).digest
    arrow = served.http.get(f"/v1/training-sets/{id}/data")
    assert arrow.headers["content-type"] == "application/vnd.apache.arrow.stream"
    assert table_digest(pa.ipc.open_stream(arrow.content).read_all()) == expected
    download = served.http.get(f"/v1/training-sets/{id}/data", params={"format": "parquet"})
    assert download.headers["content-type"] == "application/vnd.apache.parquet"
    assert table_digest(pq.read_table(io.BytesIO(download.content))) == expected
    error_of(served.http.get(f"/v1/training-sets/{id}/data", params={"format": "csv"}), 422, "RequestError")


def test_they_are_listed_and_rebuilt(served: Served) -> None:
    id = ask(served.http, json={**FIELDS, "spine": {"rows": ROWS}})["id"]
    assert id in [training_set["id"] for training_set in served.http.get("/v1/training-sets").json()]
    rebuilt = served.http.post(f"/v1/training-sets/{id}/rebuild").json()
    assert rebuilt["verified"] is True
    assert rebuilt["digest"] == served.store.get_training_set(id).digest


def test_point_in_time_returns_rows_and_stores_nothing(served: Served) -> None:
    before = served.store.training_sets()
    answer = served.http.post("/v1/point-in-time", json={"service": "plain", "timestamp": "ordered_at", "spine": {"sql": shop.SPINE_SQL}})
    rows = pa.ipc.open_stream(answer.content).read_all()
    assert rows.num_rows >= 4
    assert table_digest(rows) == table_digest(served.store.point_in_time("plain", shop.SPINE_SQL, "ordered_at"))
    assert served.store.training_sets() == before


def test_finished_training_sets_are_listed_by_the_next_server(served: Served) -> None:
    done = ask(served.http, json={**FIELDS, "spine": {"rows": ROWS}})
    shutil.rmtree(served.store.settings.home_path() / "jobs" / done["id"], ignore_errors=True)
    with shop.serving(served.store) as url:
        state = httpx.get(f"{url}/v1/training-sets/{done['id']}").json()
    assert state["state"] == "done"
    assert state["manifest"] == done["manifest"]


def test_a_waiting_build_is_cancelled_and_restarted(own: Served) -> None:
    request = {**FIELDS, "spine": {"rows": ROWS}}
    accepted = own.http.post("/v1/training-sets", json=request).json()
    assert own.http.post("/v1/training-sets", json=request).json() == accepted, "it waits already"
    for part in ("data", "files", "statistics"):
        error_of(own.http.get(f"{accepted['url']}/{part}"), 503, "NotReady")
    assert own.http.delete(accepted["url"]).json()["state"] == "cancelled"
    assert own.http.get(accepted["url"]).json()["state"] == "cancelled"
    assert own.store.training_sets() == []
    with connect(str(own.http.base_url)) as remote:
        with pytest.raises(Conflict, match="was cancelled; the same request starts it again"):
            remote.get_training_set(accepted["id"])
        assert own.http.post("/v1/training-sets", json=request).json() == accepted
        assert remote.cancel(accepted["id"]) == "cancelled"
        with pytest.raises(NotFound):
            remote.cancel("materialization-0")
        job = own.http.post("/v1/materializations").json()
        error_of(own.http.delete(f"/v1/training-sets/{job['id']}"), 404, "NotFound")
        assert remote.cancel(job["id"]) == "cancelled"


def test_a_client_that_is_interrupted_says_how_to_cancel(served: Served) -> None:
    def stop(now: BuildProgress) -> None:
        raise KeyboardInterrupt

    with connect(str(served.http.base_url), timeout=60) as remote:
        with pytest.raises(KeyboardInterrupt) as stopped:
            remote.training_set("churn", shop.spine(), "asked_at", name="stopped", progress=stop)
        (note,) = stopped.value.__notes__
        id = note.split("'")[1]
        assert f"cancel('{id}') stops it" in note
        assert remote.get_training_set(id).id == id, "the server went on"
        with pytest.raises(Conflict, match="is done"):
            remote.cancel(id)


def test_wrong_requests_are_refused_at_once(served: Served) -> None:
    def post(status: int, kind: str, **change: Any) -> dict[str, Any]:
        return error_of(served.http.post("/v1/training-sets", json={**FIELDS, "spine": {"rows": ROWS}, **change}), status, kind)

    assert "did you mean 'churn'" in post(404, "NotFound", service="chur")["message"]
    post(400, "RequestError", timestamp="when")
    post(400, "RequestError", label="nope")
    post(400, "RequestError", name="../../etc")
    post(422, "RequestError", known="later")
    post(422, "RequestError", spine={})
    post(422, "RequestError", snapshots={"customer_orders_v1": "x"})
    post(404, "NotFound", snapshots={"customer_orders_v1": "1"})
    post(404, "NotFound", spine={"table": "shop.nothing"})
    error_of(served.http.post("/v1/training-sets", data=FIELDS), 422, "RequestError")
    error_of(served.http.post("/v1/training-sets", data=FIELDS, files={"spine": b"PAR1 but not really"}), 400, "RequestError")
    error_of(served.http.post("/v1/training-sets", data={"service": "churn"}, files={"spine": parquet(shop.spine())}), 422, "RequestError")


def test_the_servers_own_files_are_out_of_reach(served: Served, tmp_path: Path) -> None:
    pq.write_table(shop.spine(), tmp_path / "secret.parquet")
    for text in (f"{tmp_path}/secret.parquet", f" {tmp_path}/*.parquet", f"SELECT * FROM '{tmp_path}/secret.parquet'"):
        answer = served.http.post("/v1/training-sets", json={**FIELDS, "spine": {"sql": text}})
        assert answer.status_code in (400, 404, 422), answer.text
    for table in (f"{tmp_path}/secret.parquet", "file:secret"):
        answer = served.http.post("/v1/training-sets", json={**FIELDS, "spine": {"table": table}})
        assert answer.status_code in (400, 404, 422), answer.text
    for id in ("..%2F..%2Fcatalog", "%2e%2e", "a/b", "x" * 500):
        assert served.http.get(f"/v1/training-sets/{id}").status_code == 404


def test_a_name_must_be_valid_for_folders_and_tables(served: Served) -> None:
    request = {**FIELDS, "spine": {"rows": ROWS}}
    for name in ("..", "a/b", "a b", "a\n", "1a", "_a", "ä", "x" * 129, "x" * 300, "x" * 100_000):
        error = error_of(served.http.post("/v1/training-sets", json={**request, "name": name}), 400, "RequestError")
        assert "is not a valid name for a training set" in error["message"]
        assert len(error["message"]) < 1_000
    longest = "x" * 128
    assert ask(served.http, json={**request, "name": longest})["state"] == "done"


@pytest.mark.parametrize("path", ["/v1/training-sets", "/v1/point-in-time"])
@pytest.mark.parametrize(
    "field, value, status, told",
    [
        ("spine", {"table": ". ."}, 400, "table"),
        ("spine", {"table": ".."}, 400, "table"),
        ("spine", {"table": "raw."}, 400, "table"),
        ("spine", {"table": ["a"]}, 422, "spine.table"),
        ("spine", {"rows": [5]}, 422, "spine.rows[0]"),
        ("timestamp", ["a"], 422, "timestamp"),
        ("service", {"a": 1}, 422, "service"),
        ("snapshots", {"customer_orders_v1": "x"}, 422, "snapshots"),
    ],
)
def test_wrong_values_are_refused_with_their_field(served: Served, path: str, field: str, value: Any, status: int, told: str) -> None:
    body = {"service": "churn", "timestamp": "ordered_at", "spine": {"sql": shop.SPINE_SQL}, field: value}
    details = error_of(served.http.post(path, json=body), status, "RequestError")["details"]
    assert told == (details["field"] if status == 400 else details["problems"][0]["field"])


@pytest.mark.parametrize("value", [["a"], 5, {"a": 1}, True])
def test_a_label_is_the_name_of_a_column(served: Served, value: Any) -> None:
    body = {"service": "churn", "timestamp": "ordered_at", "spine": {"sql": shop.SPINE_SQL}, "label": value}
    assert error_of(served.http.post("/v1/training-sets", json=body), 422, "RequestError")["details"]["problems"][0]["field"] == "label"
