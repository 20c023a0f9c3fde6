"""Read mutated files as the reader of uploads does, but in one process, because thousands of forks would take a minute."""

import os
import sys
import tempfile

import pyarrow as pa

from featurestore.server.uploads.process import read
from featurestore.server.uploads.rows import GRACE_BYTES, Bounds
from tests import forged
from tests.server.uploads.samples import SAMPLES


def main(name: str, count: int, first: int) -> None:
    """Write one line per file, starting with `first`: `valid` if its rows are read back and pass the checks, else its error."""
    pa.set_memory_pool(pa.system_memory_pool())
    for data in list(forged.mutated(SAMPLES[name], name, count))[first:]:
        with tempfile.TemporaryFile(buffering=0) as source, tempfile.TemporaryFile(buffering=0) as sink:
            source.write(data)
            source.seek(0)
            outcome = read(os.dup(source.fileno()), os.dup(sink.fileno()), Bounds(GRACE_BYTES, GRACE_BYTES, 60))
            if "rows" in outcome:
                sink.seek(0)
                rows = pa.ipc.open_stream(sink).read_all()
                rows.validate(full=True)
                assert rows.num_rows == outcome["rows"]
            sys.stdout.write(f"{'valid' if 'rows' in outcome else outcome['error']}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
