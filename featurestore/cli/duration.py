"""Options that take a duration, such as 7d or 12h."""

from datetime import timedelta
from typing import Any

import click

from featurestore.dsl import durations


class Duration(click.ParamType[timedelta]):
    """A number and a unit, as a timedelta."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Raises: BadParameter naming the option."""
        if isinstance(value, timedelta):
            return value
        try:
            return timedelta(microseconds=durations.microseconds(value))
        except (ValueError, OverflowError) as error:
            self.fail(str(error), param, ctx)


wait_option = click.option(
    "--wait",
    type=Duration(),
    default="10m",
    show_default=True,
    metavar="DURATION",
    help="How long to wait for another process that does the same; 0s: not at all.",
)
