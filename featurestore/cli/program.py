"""The program `featurestore`: the command line in a process of its own, which it ends."""

import atexit
import logging
import os
import sys
from typing import NoReturn

from featurestore.cli.main import main
from featurestore.secrets import ScrubbingFormatter


def run() -> NoReturn:
    """Run the command line and end the process with its status.

    A command has closed all that it opened when it returns. What was imported is not taken apart object by object, which is a quarter of
    the time that a short command takes: the system frees it at once.
    """
    if logging.lastResort is not None:
        # What libraries warn of goes to standard error by it.
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
