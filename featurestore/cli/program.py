"""The program `featurestore`: run the command line and end the process."""

import atexit
import logging
import os
import sys
from typing import NoReturn

from featurestore.cli.main import main
from featurestore.masking import ScrubbingFormatter


def run() -> NoReturn:
    """Run the command line and end the process with its status.

    Commands close what they open before they return. The interpreter's teardown of imported objects, a quarter of the time of a short
    command, is skipped: the operating system frees the memory at once.
    """
    if logging.lastResort is not None:
        # Warnings of libraries are written to stderr by this handler.
        logging.lastResort.setFormatter(ScrubbingFormatter())
    try:
        main()
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code)
    sys.exit()
