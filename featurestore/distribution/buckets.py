"""How many buckets rows are divided into."""

BUCKET_ROWS = 1_000_000
"""Most rows of a bucket, on average."""
FEW_BUCKETS = 8
FEW_ROWS = 20_000
"""As many buckets are made of fewer rows, if each has at least FEW_ROWS."""
MAX_BUCKETS = 4096


def count_buckets(rows: int, max_rows: int) -> int:
    """The buckets of so many rows, each with about `max_rows` at most. The workers do not count: a run that resumes finds its buckets."""
    few = min(FEW_BUCKETS, -(-rows // FEW_ROWS))
    return max(1, min(MAX_BUCKETS, max(few, -(-rows // min(BUCKET_ROWS, max_rows)))))
