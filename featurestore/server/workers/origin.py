"""The process that workers and evaluations of this process are forked from: it has imported all that they need, and runs nothing."""

import atexit
import os

from featurestore.server.forks import Forks

WORKER, EVALUATION = b"worker", b"evaluation"
"""What a fork is to be."""

# Arrow's allocator would take a gigabyte of address space in one piece, which counts as data that a fork has.
ENVIRONMENT = {"MIMALLOC_ARENA_EAGER_COMMIT": "0"}

FORKS = Forks("featurestore.server.workers.process", "does what makes the engine work", lambda: {**os.environ, **ENVIRONMENT})
"""One for all applications of this process: what it has imported takes a second and a hundred megabytes."""
atexit.register(FORKS.close)
