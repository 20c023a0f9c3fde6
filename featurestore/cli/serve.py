"""`serve`: the HTTP server."""

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import print_json, say


@click.command(cls=Command)
@click.option("--host", help="Address to listen on; 127.0.0.1, or what the settings say.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 8080, or what the settings say. 0 takes a free one.")
@click.option("--workers", type=click.IntRange(1), help="Server processes; 1, or what the settings say.")
@context.local
def serve(host: str | None, port: int | None, workers: int | None) -> None:
    """Serve the store over HTTP.

    With FEATURESTORE_TOKEN set, callers must send it as a bearer token. Ends on Ctrl-C, after answers under way.
    """
    # Here and not above: a web framework takes longer to import than `--help` may take to print.
    from featurestore.server.run import serve as run  # noqa: PLC0415

    run(context.settings(host=host, port=port, workers=workers), _announce)


def _announce(url: str) -> None:
    if context.as_json():
        print_json({"url": url, "docs": f"{url}/docs"})
        return
    say(f"[bold]featurestore[/] listens on [bold green]{escape(url)}[/]")
    say(f"[dim]API: {escape(url)}/docs   metrics: {escape(url)}/metrics   stop: Ctrl-C[/]")
