"""`ai-agent config` and `ai-agent doctor`: is it set up well, and what to do about it."""

from __future__ import annotations

import sys

import click

from celery_app.cli import options

__all__ = ["config", "doctor"]

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.group()
def config() -> None:
    """Check and show the settings in force.

    \b
    Examples:
      ai-agent --config /etc/ai-agent/config config check
      ai-agent config show --json
    """


@config.command()
def check() -> None:
    """Read all settings, the roster of agents and your own tools, and say whether they can be used.

    A fault is told with the file and line, or the environment variable, that it stands in.

    \b
    Example:
      ai-agent --config ./config config check
    """
    from agents.agent_manager import AgentManager
    from celery_app.cli.doctor import source
    from celery_app.stack.profile import current_settings
    from celery_app.tool_settings import catalogue_of

    settings = current_settings()
    tools = catalogue_of(settings.tools)
    tools.check()
    AgentManager.load(settings.agents_file, tools.names)
    click.echo(f"ok: {source()}")


@config.command("show")
@options.as_json
def show(as_json: bool) -> None:
    """Print every setting in force, defaults and overrides included; secrets are never shown.

    \b
    Example:
      AI_AGENT__WORKER__CONCURRENCY=4 ai-agent config show
    """
    import yaml

    from celery_app.cli.screen import print_json
    from celery_app.stack.profile import current_settings

    shown = current_settings(check_files=False).shown()
    if as_json:
        print_json(shown)
    else:
        click.echo(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True).rstrip())


@click.command()
@options.as_json
def doctor(as_json: bool) -> None:
    """Check the installation and the servers.

    Each fault is told with what to do about it.
    The exit code is 2 when something is set up wrongly, 4 when a server does not answer.

    \b
    Example:
      ai-agent doctor
    """
    from celery_app.cli.doctor import examine
    from celery_app.cli.screen import one_line, print_json

    findings = list(examine())
    if as_json:
        print_json([finding.as_json() for finding in findings])
    else:
        for finding in findings:
            level = click.style(f"{finding.level:<4}", fg=_COLOURS[finding.level])
            advice = f": {finding.advice}" if finding.advice else ""
            click.echo(f"{level}  {finding.subject:<10} {one_line(finding.fact + advice, 300)}")
    sys.exit(min((finding.exit_code for finding in findings if finding.exit_code), default=0))
