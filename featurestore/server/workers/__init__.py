"""Processes that run queries, one request at a time each, so that any query can be ended by ending its process."""
