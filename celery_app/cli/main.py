"""The console command `ai-agent`: its group, and the one door through which every error leaves.

Invariants
  * Help and version import nothing of the system: commands import what they need when they run, and
    `--config` is in force before that.
  * An error is one line on stderr and an exit code: 1 the work failed, 2 usage or configuration,
    3 denied, 4 a service does not answer, 130 interrupted. Tracebacks are for AI_AGENT_DEBUG alone.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

import click

import celery_app
from celery_app.cli.alerts import alerts
from celery_app.cli.api import api
from celery_app.cli.audit import audit
from celery_app.cli.completion import completion
from celery_app.cli.docs import docs
from celery_app.cli.init import init
from celery_app.cli.keys import keys
from celery_app.cli.logs import logs
from celery_app.cli.manage import config, doctor
from celery_app.cli.metrics import metrics
from celery_app.cli.policy import policy
from celery_app.cli.processes import beat, down, flower, status, up, worker
from celery_app.cli.project import project
from celery_app.cli.run import run
from celery_app.cli.test import test
from celery_app.cli.token import token
from celery_app.cli.work import task
from celery_app.cli.workflow import workflow
from celery_app.redaction import guard_logs, redacted

__all__ = ["cli", "main"]

INTERRUPTED = 130


class Door(click.Group):
    """A command group that tells every error in one line."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line and end the process; click's own way without `standalone_mode`."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        try:
            outcome = super().main(args, prog_name, complete_var, False, **extra)
        except Exception as error:
            sys.exit(_tell(error))
        sys.exit(outcome if isinstance(outcome, int) else 0)


def _tell(error: Exception) -> int:
    """Print what went wrong; return the exit code."""
    if _debugging() and not isinstance(error, click.ClickException | click.Abort):
        click.echo(redacted("".join(traceback.format_exception(error))), err=True, nl=False)
    if isinstance(error, click.Abort):
        return INTERRUPTED
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    if isinstance(error, click.ClickException):
        return _say(error.format_message() + _where_to_read(error), error.exit_code)
    # Whoever raised one has imported it; help and version never pay for it.
    from celery_app.errors import AgentSystemError

    if isinstance(error, AgentSystemError):
        # A workflow file may have several things wrong with it at once, each on its line.
        told = getattr(error, "problems", None) or [error]
        return max(_say(str(each), error.exit_code) for each in told)
    message = f"{type(error).__name__}: {error} (unexpected: `ai-agent --debug ...` shows where)"
    return _say(message, 1)


def _say(message: str, exit_code: int) -> int:
    click.echo("error: " + redacted(" ".join(message.split())), err=True)
    return exit_code


def _where_to_read(error: click.ClickException) -> str:
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f" (see `{error.ctx.command_path} --help`)"
    return ""


def _debugging() -> bool:
    return os.environ.get("AI_AGENT_DEBUG", "") not in ("", "0")


@click.group(
    cls=Door,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 well, 1 the work failed, 2 usage or configuration, 3 denied, "
    "4 a service does not answer.",
)
@click.option(
    "--config",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder of system.yaml, as CONFIG_PATH; without it the embedded servers are used.",
)
@click.option("--debug", is_flag=True, help="Show tracebacks, as AI_AGENT_DEBUG=1 does.")
@click.version_option(celery_app.__version__, message="ai-agent %(version)s")
def cli(folder: Path | None, debug: bool) -> None:
    """Durable work by AI agents: jobs are planned, run in parallel and never lost.

    \b
    Examples:
      ai-agent run "Compare the two offers" --input a.md --input b.md
      ai-agent up
      ai-agent task list
    """
    if folder is not None:
        os.environ["CONFIG_PATH"] = str(folder.expanduser().absolute())
    if debug:
        os.environ["AI_AGENT_DEBUG"] = "1"


for _command in (
    run,
    up,
    down,
    status,
    worker,
    beat,
    api,
    flower,
    task,
    workflow,
    project,
    logs,
    alerts,
    docs,
    metrics,
    keys,
    policy,
    token,
    audit,
    test,
    config,
    doctor,
    init,
    completion,
):
    cli.add_command(_command)


def main() -> NoReturn:
    """Run `ai-agent`."""
    guard_logs()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal that cannot show a character gets its code, not a traceback.
            stream.reconfigure(errors="backslashreplace")
    cli.main(prog_name="ai-agent")
    raise AssertionError("click ends the process")
