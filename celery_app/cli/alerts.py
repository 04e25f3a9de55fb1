"""`ai-agent alerts`: what is firing, by which rules, and what is done about it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from celery_app.cli import options

if TYPE_CHECKING:
    from celery_app.observe.alert_desk import AlertDesk

__all__ = ["alerts"]

_RULE = re.compile(r"[\w.*-]+")


@click.group(invoke_without_command=True)
@click.option("--all", "with_resolved", is_flag=True, help="Also those that are over.")
@options.as_json
@click.pass_context
def alerts(context: click.Context, with_resolved: bool, as_json: bool) -> None:
    """What is firing, by the rules of alerts.yaml, and what is done about it.

    Without a command it lists what is firing. docs/alerts.md tells how rules are written.

    \b
    Examples:
      ai-agent alerts
      ai-agent alerts silence errors --for 2h
      ai-agent alerts resolve 17
    """
    if context.invoked_subcommand is None:
        _print_alerts(not with_resolved, 50, as_json)


@alerts.command("list")
@click.option("--all", "with_resolved", is_flag=True, help="Also those that are over.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@options.as_json
def list_alerts(with_resolved: bool, limit: int, as_json: bool) -> None:
    """List alerts, newest first.

    \b
    Example:
      ai-agent alerts list --all --json
    """
    _print_alerts(not with_resolved, limit, as_json)


@alerts.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@options.as_json
def rules(file: Path | None, as_json: bool) -> None:
    """List the rules of FILE, or those in force; tells the first mistake with its line.

    \b
    Example:
      ai-agent alerts rules config/alerts.yaml
    """
    from celery_app.cli.screen import print_json, print_table

    if file is not None:
        from celery_app.observe.alert_rules import AlertFile

        found = [rule.as_json() for rule in AlertFile.load(file).rules]
    else:
        found = _desk().rules()
    if as_json:
        print_json(found)
        return
    headings = ("rule", "kind", "severity", "notify")
    rows = [(r["name"], r["kind"], r["severity"], ", ".join(r["notify"])) for r in found]
    print_table(headings, rows)


@alerts.command()
@click.argument("number", type=click.IntRange(1), metavar="ALERT")
def resolve(number: int) -> None:
    """Close ALERT, by its number. What made it opens another one if it happens again.

    \b
    Example:
      ai-agent alerts resolve 17
    """
    _desk().resolve(number)
    click.echo(f"alert {number} is resolved", err=True)


@alerts.command()
@click.argument("rule")
@click.option(
    "--for", "seconds", type=options.SECONDS, default="1h", show_default=True, metavar="TIME"
)
@click.option("--about", default="*", help="Only of what is about this (a pattern).")
@options.as_json
def silence(rule: str, seconds: float, about: str, as_json: bool) -> None:
    """Tell nobody of alerts of RULE (a pattern) for a time. They are kept, and told afterwards.

    \b
    Examples:
      ai-agent alerts silence errors --for 2h
      ai-agent alerts silence '*' --about 'logger=reports*' --for 1d
    """
    from celery_app.cli.screen import print_json

    if not _RULE.fullmatch(rule):
        raise click.BadParameter(f"{rule!r} can be no rule; `ai-agent alerts rules` lists them")
    number = _desk().silence(rule, seconds, about)
    if as_json:
        print_json({"id": number})
    else:
        click.echo(f"silence {number}: {rule} for {seconds:g} s", err=True)


@alerts.command()
@options.as_json
def silences(as_json: bool) -> None:
    """List the silences in force.

    \b
    Example:
      ai-agent alerts silences
    """
    from celery_app.cli.screen import print_json, print_table

    found = _desk().silences()
    if as_json:
        print_json(found)
    else:
        columns = ("id", "rule", "about", "until", "made_by")
        print_table(columns, [[each[name] for name in columns] for each in found])


@alerts.command()
@click.argument("number", type=click.IntRange(1), metavar="SILENCE")
def unsilence(number: int) -> None:
    """End SILENCE, by its number.

    \b
    Example:
      ai-agent alerts unsilence 3
    """
    _desk().end_silence(number)
    click.echo(f"silence {number} is over", err=True)


@alerts.command()
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@options.as_json
def told(limit: int, as_json: bool) -> None:
    """List what notifiers were told, or are to be told, and why not yet.

    \b
    Example:
      ai-agent alerts told --json
    """
    from celery_app.cli.screen import print_json, print_table

    found = _desk().told(limit)
    if as_json:
        print_json(found)
    else:
        columns = ("id", "notifier", "subject", "state", "tries", "made_at", "error")
        print_table(columns, [[each[name] or "" for name in columns] for each in found])


@alerts.command("test")
@click.argument("notifier")
def try_notifier(notifier: str) -> None:
    """Let NOTIFIER tell somebody that it works.

    \b
    Example:
      ai-agent alerts test ops
    """
    _desk().try_notifier(notifier)
    click.echo(f"{notifier} has told it", err=True)


def _desk() -> AlertDesk:
    from celery_app.cli.system import prepare

    prepare()
    from celery_app.observe.alert_desk import AlertDesk

    return AlertDesk()


def _print_alerts(open_only: bool, limit: int, as_json: bool) -> None:
    from celery_app.cli.screen import print_json, print_table

    found = [alert.as_json() for alert in _desk().alerts(open_only=open_only, limit=limit)]
    if as_json:
        print_json(found)
        return
    columns = ("id", "state", "severity", "rule", "about", "hits", "fired_at", "message")
    print_table(columns, [[each[name] for name in columns] for each in found])
