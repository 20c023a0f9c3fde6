"""The command line: parse, call a verb, print."""

from featurestore.cli.main import main

__all__ = ["main"]
