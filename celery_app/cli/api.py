"""`ai-agent api`: the HTTP API and the web console."""

from __future__ import annotations

import click

__all__ = ["api"]


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="By default 8000, or api.port.")
@click.option("--host", metavar="ADDRESS", help="By default 127.0.0.1, or api.host.")
def api(port: int | None, host: str | None) -> None:
    """Serve the HTTP API and the web console until interrupted.

    The console is at /, what the API offers stands in /openapi.json. Everybody else than the user of this
    machine needs a token (`ai-agent token create`), and so does everything that comes from another machine.

    \b
    Examples:
      ai-agent api
      ai-agent api --host 0.0.0.0 --port 8080
      curl http://localhost:8000/tasks
    """
    from celery_app.cli.system import note, prepare

    prepare()
    from celery_app.api.server import address, serve

    note(f"the console will be at {address(host, port)}")
    serve(host, port)
