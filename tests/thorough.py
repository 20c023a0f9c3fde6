"""How many examples a test tries: a few in each run, and many with THOROUGH=1."""

import os


def choose(usual: int, thorough: int) -> int:
    """The number of examples: `thorough` where the environment says THOROUGH=1."""
    return thorough if os.environ.get("THOROUGH") == "1" else usual
