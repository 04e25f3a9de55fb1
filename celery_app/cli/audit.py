"""`ai-agent audit`: whether the journals are as they were written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from celery_app.cli import options

if TYPE_CHECKING:
    from celery_app.orchestrator.audit_check import Report
    from celery_app.security.signer import Signer
    from celery_app.store.audit import AuditStore

__all__ = ["audit"]


@click.group()
def audit() -> None:
    """Seal and verify the journals: what happened to every task, and what was denied.

    Workers seal what is closed of them from time to time, by hashes that build on each other and a
    signature.

    \b
    Examples:
      ai-agent audit verify
      ai-agent audit show
      ai-agent audit prune --days 90
    """


@audit.command()
@click.option(
    "--head",
    "heads",
    multiple=True,
    metavar="DIGEST",
    help="A head that `audit show` told earlier; it must still be in the chain. May be given again.",
)
@options.as_json
def verify(heads: tuple[str, ...], as_json: bool) -> None:
    """Name each row that is not as it was sealed.

    Exit code: 0 they are whole, 1 something was altered, removed or added.

    \b
    Example:
      ai-agent audit verify --head 5f2c...
    """
    from celery_app.cli.screen import print_json
    from celery_app.orchestrator.audit_check import Verifier

    for head in heads:
        if len(head) != 64 or set(head.lower()) - set("0123456789abcdef"):
            raise click.UsageError(
                f"{head!r} is no digest: give the 64 hexadecimal digits that `audit show` printed"
            )
    store, signer = _open("system.read")
    with _progress("verifying", quiet=as_json) as on_done:
        reports = Verifier(store, signer).verify(heads, on_done)
    if as_json:
        print_json([asdict(report) for report in reports])
    else:
        for report in reports:
            _tell(report)
    if any(report.findings for report in reports):
        raise SystemExit(1)


@audit.command()
@click.option(
    "--accept",
    is_flag=True,
    help="Go on from a head that is not rightly signed. Only after you have found out why.",
)
@options.as_json
def seal(accept: bool, as_json: bool) -> None:
    """Seal everything that is closed by now.

    Workers do so every security.audit.interval seconds.

    \b
    Example:
      ai-agent audit seal
    """
    from celery_app.cli.screen import print_json
    from celery_app.orchestrator.audit import Keeper

    store, signer = _open("system.change")
    with _progress("sealing", quiet=as_json) as on_done:
        kept = Keeper(store, signer).seal(accept=accept, on_done=on_done)
    if as_json:
        print_json({"stretches": kept.stretches, "rows": kept.rows})
    else:
        click.echo(f"sealed {kept.rows} rows in {kept.stretches} stretches")


@audit.command()
@click.option(
    "--days",
    type=click.FloatRange(min=0),
    help="Keep what was sealed in so many days; by default security.audit.retention_days.",
)
@options.as_json
def prune(days: float | None, as_json: bool) -> None:
    """Cut what is old, at a signed checkpoint.

    Whole stretches are cut, as far as every run in them has ended. What is cut is compared with its
    seal before.

    \b
    Example:
      ai-agent audit prune --days 90
    """
    from celery_app.cli.screen import print_json
    from celery_app.orchestrator.audit import Keeper

    store, signer = _open("system.change")
    kept_days = _retention() if days is None else days
    with _progress("cutting", quiet=as_json) as on_done:
        kept = Keeper(store, signer).prune(kept_days, on_done)
    if as_json:
        print_json({"stretches": kept.stretches, "rows": kept.rows})
    else:
        click.echo(f"cut {kept.rows} rows in {kept.stretches} stretches")


@audit.command()
@options.as_json
def show(as_json: bool) -> None:
    """Show the head of each journal, to be noted elsewhere.

    `audit verify --head` then finds even that an older copy of the whole database was put in place.

    \b
    Example:
      ai-agent audit show
    """
    from celery_app.cli.screen import print_json, print_table
    from celery_app.store.journals import JOURNALS

    store, _ = _open("system.read")
    shown: list[dict[str, Any]] = []
    for journal in JOURNALS:
        found = store.head(journal)
        if found is not None:
            head, signature = found
            digest, signed = head.digest.hex(), signature is not None
            shown.append(
                {"journal": journal.table, "stretches": head.number, "cut": head.cut,
                 "head": digest, "signed": signed}
            )  # fmt: skip
    if as_json:
        print_json(shown)
        return
    if not shown:
        click.echo("nothing is sealed yet: `ai-agent audit seal` does it now")
        return
    rows = [(*list(each.values())[:4], "yes" if each["signed"] else "no") for each in shown]
    print_table(("journal", "stretches", "cut", "head", "signed"), rows)


def _open(action: str) -> tuple[AuditStore, Signer]:
    from celery_app.cli.system import prepare

    prepare()
    from celery_app.celery import database, guard, vault
    from celery_app.security.signer import Signer
    from celery_app.store.audit import AuditStore

    guard().require(action, "system:audit")
    return AuditStore(database), Signer(vault.ring)


def _retention() -> float:
    from celery_app.celery import settings

    days = settings.security.audit.retention_days
    if days is None:
        raise click.UsageError(
            "everything is kept, since security.audit.retention_days is not set: give --days"
        )
    return days


@contextmanager
def _progress(name: str, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    off = quiet or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=off) as progress:
        line = progress.add_task(f"{name} rows", total=None)
        yield lambda n: progress.update(line, advance=n)


def _tell(report: Report) -> None:
    for finding in report.findings:
        click.echo(str(finding), err=True)
    state = f"{len(report.findings)} findings" if report.findings else "whole"
    cut = f", {report.rows_cut} rows cut" if report.rows_cut else ""
    click.echo(
        f"{report.journal}: {state}; {report.rows} rows in {report.stretches} stretches"
        f"{cut}, {report.unsealed} not sealed yet"
    )
    if report.head is None:
        return
    click.echo(f"  head {report.head}")
    if report.head_worth == "unchecked":
        click.echo("  signatures were not checked: there are no keys here", err=True)
    elif report.unsigned:
        click.echo(
            f"  {report.unsigned} stretches are not signed, since there was no key: "
            "whoever could write to the database could have forged them",
            err=True,
        )
