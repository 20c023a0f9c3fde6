"""Iceberg's own REST handlers in a server: OAuth2, a warehouse by name, a prefix, and vended credentials."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent / "java"
WAREHOUSE = "team-lake"
CLIENT = {"credential": "robot:hard-to-guess", "scope": "lake"}
HOUR_MS = 3_600_000


@contextmanager
def serving(classpath: str, warehouse: str, endpoint: str, lifetime_ms: int = HOUR_MS) -> Iterator[str]:
    """The address of a catalog with its tables under an S3 address; its credentials last `lifetime_ms`, by what it says."""
    # A small heap and the first compiler only: it starts in half the time.
    command = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dsun.net.httpserver.nodelay=true", "-cp", classpath, "CatalogServer"]
    process = subprocess.Popen([*command, warehouse, endpoint, str(lifetime_ms)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.stdin.close()
        process.wait(timeout=60)
        process.stdout.close()


def compile_server(folder: Path) -> str:
    """Compile the server with Iceberg's jar; returns its class path."""
    if shutil.which("javac") is None:
        pytest.skip("no JDK here: apt-get install openjdk-17-jdk-headless")
    iceberg = pytest.importorskip("snowpark_connect_deps_iceberg")
    (jar,) = Path(iceberg.__file__).parent.glob("jars/iceberg-spark-runtime-3.5_2.12-*.jar")
    sources = [str(path) for path in sorted(SOURCES.rglob("*.java"))]
    subprocess.run(["javac", "-nowarn", "-cp", str(jar), "-d", str(folder), *sources], check=True)
    return f"{folder}:{jar}"


def properties(address: str) -> dict[str, str]:
    """The catalog properties of a client of the server: no credentials for S3."""
    return {"type": "rest", "uri": address, "oauth2-server-uri": f"{address}/token", **CLIENT}
