"""`serve`: the HTTP server."""

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import print_json, say


@click.command(cls=Command)
@click.option("--host", help="Address to listen on; default: 127.0.0.1, or the settings.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on, 0 for a free one; default: 8080, or the settings.")
@click.option("--workers", type=click.IntRange(1), help="Server processes; default: 1, or the settings.")
@context.local_options
def serve(host: str | None, port: int | None, workers: int | None) -> None:
    """Serve the store over HTTP.

    If FEATURESTORE_TOKEN is set, or there are API keys, clients must send one as a bearer token. Ctrl-C stops the server
    after it has finished the requests in progress.
    """
    # Imported here, since a web framework would slow down `--help`.
    from featurestore.server.run import run_server  # noqa: PLC0415

    run_server(context.settings(host=host, port=port, workers=workers), _announce)


def _announce(url: str) -> None:
    if context.as_json():
        print_json({"url": url, "docs": f"{url}/docs"})
        return
    say(f"[bold]featurestore[/] is listening on [bold green]{escape(url)}[/]")
    say(f"[dim]API: {escape(url)}/docs   metrics: {escape(url)}/metrics   stop: Ctrl-C[/]")
