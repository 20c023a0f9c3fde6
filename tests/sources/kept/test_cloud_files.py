"""Files in Google Cloud Storage and in Azure, in emulators of both, give what the same files in a folder give."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from featurestore import FeatureStore, Settings, Source
from featurestore.errors import NotFound, NotReady, RequestError
from featurestore.files.object_files import ObjectFiles
from featurestore.lakehouse import object_store
from tests.sources.kept import events
from tests.waiting import wait_until

KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The well-known key of the account of Azure's emulator."""


@dataclass(frozen=True)
class Cloud:
    """A bucket `lake` of an emulator: its address, how this test writes it, and how the store reads it."""

    address: str
    files: pafs.FileSystem
    access: dict[str, str]
    refused: dict[str, str] = field(default_factory=dict)
    """Settings that differ in credentials which are refused."""

    def put(self, day: int, amounts: list[float]) -> None:
        with self.files.open_output_stream(
            f"lake/events/day=2026-01-{day + 1:02d}/a.parquet", metadata={"Content-Type": "application/x"}
        ) as file:
            pq.write_table(events.rows(day, amounts), file)


@contextmanager
def google(folder: Path) -> Iterator[Cloud]:
    with running(
        "gcp-storage-emulator", "pip install gcp-storage-emulator", lambda port: ["start", "--in-memory", f"--port={port}"]
    ) as port:
        host = f"http://127.0.0.1:{port}"
        body = urllib.request.Request(f"{host}/storage/v1/b?project=test", b'{"name": "lake"}', {"Content-Type": "application/json"})
        urllib.request.urlopen(body, timeout=10).close()
        files = pafs.GcsFileSystem(anonymous=True, scheme="http", endpoint_override=f"127.0.0.1:{port}")
        yield Cloud("gs://lake", files, {"gcs.service.host": host, "gcs.anonymous": "true"})


@contextmanager
def azure(folder: Path) -> Iterator[Cloud]:
    def arguments(port: int) -> list[str]:
        return ["--blobPort", str(port), "--location", str(folder), "--skipApiVersionCheck", "--disableTelemetry"]

    with running("azurite-blob", "npm install --global azurite", arguments) as port:
        place = {"blob_storage_authority": f"127.0.0.1:{port}", "dfs_storage_authority": f"127.0.0.1:{port}"}
        schemes = {"blob_storage_scheme": "http", "dfs_storage_scheme": "http"}
        files = pafs.AzureFileSystem("devstoreaccount1", account_key=KEY, **place, **schemes)
        files.create_dir("lake")
        access = {f"adls.{name.replace('_', '-')}": value for name, value in {**place, **schemes}.items()}
        access |= {"adls.account-name": "other", "adls.account-key": KEY}
        # The account of the address counts, and not that of the settings.
        yield Cloud("abfss://lake@devstoreaccount1.dfs.core.windows.net", files, access, {"adls.account-key": f"AAA{KEY[3:]}"})


@contextmanager
def running(program: str, install: str, arguments: Callable[[int], list[str]]) -> Iterator[int]:
    """The port of a server, in a process of its own."""
    found = shutil.which(program, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        pytest.skip(f"no {program} here: {install}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    process = subprocess.Popen([found, *arguments(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(port))
        yield port
    finally:
        process.terminate()
        process.wait(timeout=60)


def answers(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module", params=[google, azure])
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with request.param(tmp_path_factory.mktemp("cloud")) as made:
        yield made


@pytest.mark.slow
def test_new_changed_and_removed_files_give_what_a_folder_gives(cloud: Cloud, tmp_path: Path) -> None:
    def put(day: int, amounts: list[float]) -> None:
        cloud.put(day, amounts)
        events.write(tmp_path / "same", day, amounts)

    put(0, [1.0, 2.0])
    put(1, [3.0])
    settings: Any = cloud.access
    store = FeatureStore(settings=Settings(home=tmp_path / "home", source_access=settings))
    events.serve(store, Source("events", path=f"{cloud.address}/events/day=*/*.parquet", timestamp="at"))
    put(2, [4.0, 5.0])
    put(0, [1.0, 7.0])
    cloud.files.delete_file("lake/events/day=2026-01-02/a.parquet")
    (tmp_path / "same" / "day=2026-01-02" / "a.parquet").unlink()
    store.materialize()
    events.serve(store, Source("same", path=str(tmp_path / "same" / "day=*" / "*.parquet"), timestamp="at"), "same")
    assert events.joined(store) == events.joined(store, "same")


@pytest.mark.slow
def test_what_is_missing_or_refused_is_an_error_and_never_an_empty_source(cloud: Cloud) -> None:
    none = cloud.address.replace("lake", "none", 1)
    for address in (f"{cloud.address}/none/*.parquet", f"{cloud.address}/none.parquet", f"{none}/x/*.parquet", f"{none}/x.parquet"):
        with pytest.raises(NotFound):
            ObjectFiles(address, cloud.access).states()
    if cloud.refused:
        with pytest.raises(RequestError, match="cannot be read with these credentials"):
            ObjectFiles(f"{cloud.address}/x.parquet", {**cloud.access, **cloud.refused}).states()


def test_an_address_in_azure_without_an_account_says_where_to_name_it() -> None:
    with pytest.raises(RequestError, match=r"names no storage account; write az://container@account\.dfs"):
        ObjectFiles("az://lake/x.parquet", {})


@pytest.mark.slow
def test_a_server_of_google_that_does_not_answer_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "_GCS_SECONDS", 1)
    began = time.monotonic()
    with pytest.raises(NotReady, match="does not answer as expected"):
        ObjectFiles("gs://lake/x.parquet", {"gcs.service.host": "http://127.0.0.1:9", "gcs.anonymous": "true"}).states()
    assert time.monotonic() - began < 60, "the limit of the client itself is a quarter of an hour"
