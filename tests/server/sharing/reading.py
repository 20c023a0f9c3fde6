"""Read the files of a shared table."""

import io
import json
from collections.abc import Iterator

import httpx
import pyarrow as pa
import pyarrow.parquet as pq


def read_files(http: httpx.Client, name: str) -> Iterator[tuple[bytes, pa.Table]]:
    """The bytes of each file of a table of the share `partners`, and its rows."""
    schema, _, table = name.partition(".")
    answer = http.post(f"/shares/partners/schemas/{schema}/tables/{table}/query", json={})
    assert answer.status_code == 200, answer.text
    for line in answer.text.splitlines()[2:]:
        content = http.get(json.loads(line)["file"]["url"], headers={"Authorization": ""}).content
        yield content, pq.read_table(io.BytesIO(content))
