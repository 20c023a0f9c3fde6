"""The fork server of workers and evaluations: a process that has imported what they need, and only forks."""

import atexit
import os

from featurestore.server.forks import Forks

WORKER, EVALUATION = b"worker", b"evaluation"
"""The message of a fork request: what the fork becomes."""

# Arrow's allocator would reserve a gigabyte of address space at once, which counts as data memory of the fork.
ENVIRONMENT = {"MIMALLOC_ARENA_EAGER_COMMIT": "0"}

FORKS = Forks("featurestore.server.workers.process", "runs queries", lambda: {**os.environ, **ENVIRONMENT})
"""Shared by all applications of this process: its imports take a second and a hundred megabytes."""
atexit.register(FORKS.close)
