"""Spark's own servers as processes of this machine: a standalone master with workers, and a Spark Connect server."""

import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

MASTER = "org.apache.spark.deploy.master.Master"
WORKER = "org.apache.spark.deploy.worker.Worker"
SUBMIT = "org.apache.spark.deploy.SparkSubmit"
CONNECT = "org.apache.spark.sql.connect.service.SparkConnectServer"
START_SECONDS = 180
HOST = "127.0.0.1"


def environment() -> dict[str, str]:
    """Variables of the servers, and of drivers that talk to them: everything stays on the loopback interface."""
    spark = find_spec("pyspark")
    assert spark is not None
    assert spark.origin is not None
    (library,) = Path(spark.origin).parent.glob("jars/scala-library-*.jar")
    scala = ".".join(library.stem.rpartition("-")[2].split(".")[:2])
    return {
        **os.environ,
        "SPARK_HOME": str(Path(spark.origin).parent),
        "SPARK_SCALA_VERSION": scala,
        "SPARK_LOCAL_IP": HOST,
        "PYSPARK_PYTHON": sys.executable,
    }


class Started(NamedTuple):
    """A server: what its log says of its address, and the id of its process."""

    address: str
    pid: int


@contextmanager
def standalone(folder: Path, prefixes: Sequence[Sequence[str]] = ((), ())) -> Iterator[tuple[str, list[int]]]:
    """The address of a master, and the ids of its workers, each of one core, which are started by the commands `prefixes`."""
    with ExitStack() as stack:
        arguments = ["--host", HOST, "--port", "0", "--webui-port", "0"]
        master = _running((), [MASTER, *arguments], r"Starting Spark master at (spark://\S+)", folder / "master.log")
        address, _ = stack.enter_context(master)
        workers = []
        for number, prefix in enumerate(prefixes):
            options = ["--cores", "1", "--memory", "1g", "--work-dir", str(folder / f"worker-{number}"), *arguments, address]
            worker = _running(prefix, [WORKER, *options], "Successfully registered with master", folder / f"worker-{number}.log")
            workers.append(stack.enter_context(worker).pid)
        yield address, workers


@contextmanager
def connect_server(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """The address of a Spark Connect server that computes on two cores of this machine, and its id."""
    confs = {"spark.connect.grpc.binding.address": HOST, "spark.connect.grpc.binding.port": "0", "spark.ui.enabled": "false"}
    options = [option for name, value in confs.items() for option in ("--conf", f"{name}={value}")]
    command = [SUBMIT, "--class", CONNECT, "--master", "local[2]", *options]
    with _running((), command, r"Spark Connect server started at: \S*?:(\d+)\b", folder / "connect.log") as server:
        yield f"sc://{HOST}:{server.address}", [server.pid]


@contextmanager
def _running(prefix: Sequence[str], command: Sequence[str], ready: str, log: Path) -> Iterator[Started]:
    """Run a class of Spark until the end of the block, once its log has a line like `ready`: what that captures."""
    variables = environment()
    run = [*prefix, f"{variables['SPARK_HOME']}/bin/spark-class", *command]
    process = subprocess.Popen(run, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    found: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def follow() -> None:
        assert process.stdout is not None
        with process.stdout as lines, log.open("w") as kept:
            for line in lines:
                kept.write(line)
                kept.flush()
                if (match := re.search(ready, line)) is not None:
                    found.put(match.group(match.lastindex or 0))
        found.put(None)

    reader = threading.Thread(target=follow)
    reader.start()
    try:
        answer = found.get(timeout=START_SECONDS)
        assert answer is not None, f"{command[0]} ended: {log.read_text()[-2000:]}"
        yield Started(answer, process.pid)
    finally:
        process.terminate()
        process.wait(timeout=60)
        reader.join()
