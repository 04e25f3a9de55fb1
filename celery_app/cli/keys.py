"""`ai-agent keys`: the keys that payloads and messages are sealed with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from celery_app.cli import options

if TYPE_CHECKING:
    from celery_app.security.keys import Key, KeyRing
    from celery_app.store.sealed import Resealed, SealedStore

__all__ = ["keys"]


@click.group()
def keys() -> None:
    """Make, change and list the keys that everything is sealed with (AES-256-GCM).

    They are files in the folder security.encryption.key_path. Keep a copy of it in a safe place:
    without its key nothing that is sealed can be read again by anybody.

    \b
    Examples:
      ai-agent keys create
      ai-agent keys rotate && ai-agent keys reseal
      ai-agent keys list --json
    """


@keys.command()
@options.as_json
def create(as_json: bool) -> None:
    """Make a key. The first one is in use at once, and what is stored in clear is sealed with it.

    A further key opens, and is not used to seal until `keys rotate`: so there is time to copy it to
    every machine.

    \b
    Example:
      ai-agent keys create
    """
    from celery_app.cli.screen import print_json

    ring = _ring()
    first = ring.current is None
    key = ring.add()
    if first:
        ring.appoint(key)
        store = _store(start=True)
        if store is not None:
            _reseal(store, plain=True, quiet=as_json)
    if as_json:
        print_json(_shown(ring, key, None))
    elif first:
        click.echo(
            f"key {key.id} in {ring.folder} seals everything from now on; keep a copy of that folder: "
            "without it nothing that is sealed can be read"
        )
    else:
        click.echo(
            f"key {key.id} in {ring.folder} opens; copy it to every machine, then `ai-agent keys rotate`"
        )


@keys.command()
@options.as_json
def rotate(as_json: bool) -> None:
    """Seal with another key from now on: the newest that waits, or one that is made now.

    Work that runs goes on; what is there opens with the keys that it was sealed with. With several
    machines, make the key first (`keys create`) and copy it to all of them.

    \b
    Example:
      ai-agent keys rotate
    """
    from celery_app.cli.screen import print_json

    ring = _ring()
    before = ring.current
    if before is None:
        raise click.UsageError("there is no key yet: `ai-agent keys create` makes the first one")
    waiting = [key for key in ring.all() if key.order > before.order]
    key = waiting[-1] if waiting else ring.add()
    ring.appoint(key)
    if as_json:
        print_json(_shown(ring, key, None))
    else:
        click.echo(
            f"key {key.id} seals from now on; {before.id} opens what was sealed with it, "
            "until `ai-agent keys reseal` has sealed that anew"
        )


@keys.command("list")
@options.as_json
def list_keys(as_json: bool) -> None:
    """List the keys, what each is used for, and how much in the database is sealed with it.

    \b
    Example:
      ai-agent keys list
    """
    from celery_app.cli.screen import print_json, print_table

    ring = _ring()
    store = _store(start=False)
    counts = None if store is None else store.counts()
    shown = [_shown(ring, key, counts) for key in ring.all()]
    if as_json:
        print_json(shown)
        return
    rows = [
        (each["id"], each["created_at"], each["use"], "-" if counts is None else each["values"])
        for each in shown
    ]
    print_table(("key", "made", "use", "values"), rows)
    if counts and counts.get(None):
        click.echo(f"{counts[None]} values are in clear: `ai-agent keys reseal --plain` seals them")


@keys.command()
@click.option(
    "--plain",
    is_flag=True,
    help="Also seal what is in clear. Only if nobody else could write to the database until now.",
)
@options.as_json
def reseal(plain: bool, as_json: bool) -> None:
    """Seal everything in the database with the newest key; work may go on meanwhile.

    Values that do not open are left as they are and told; the exit code is then 1.

    \b
    Example:
      ai-agent keys reseal
    """
    from celery_app.celery import database, guard, prepare
    from celery_app.cli.screen import print_json
    from celery_app.store.sealed import SealedStore

    if _ring().current is None:
        raise click.UsageError("there is no key yet: `ai-agent keys create` makes the first one")
    prepare()
    guard().require("system.change", "system:keys")
    outcome = _reseal(SealedStore(database), plain=plain, quiet=as_json)
    if as_json:
        print_json({"resealed": outcome.done, "refused": outcome.refused})
    else:
        click.echo(f"sealed {outcome.done} values anew")
        for place in outcome.refused:
            click.echo(f"left as it is: {place}", err=True)
    if outcome.refused:
        raise SystemExit(1)


def _ring() -> KeyRing:
    from celery_app.security.keys import KeyRing
    from celery_app.stack.profile import current_settings

    encryption = current_settings(check_files=False).security.encryption
    return KeyRing(encryption.key_path)


def _store(*, start: bool) -> SealedStore | None:
    """Return what holds payloads; None where nothing does yet, or does not answer."""
    from celery_app.errors import ConfigurationError, ServiceUnavailable
    from celery_app.postgres.connection import Database
    from celery_app.security.vault import Vault
    from celery_app.stack.profile import current_settings, ensure_stack, has_data
    from celery_app.store.sealed import SealedStore

    if not has_data():
        return None
    if start:
        ensure_stack()
    settings = current_settings(check_files=False)
    store = SealedStore(Database(settings.database_url, Vault(_ring()), patience=False))
    try:
        store.counts()
    except (ServiceUnavailable, ConfigurationError):
        return None
    return store


def _shown(ring: KeyRing, key: Key, counts: dict[str | None, int] | None) -> dict[str, Any]:
    current = ring.current
    if current is None or key.order > current.order:
        use = "waits"
    else:
        use = "seals" if key.id == current.id else "opens"
    values = None if counts is None else counts.get(key.id, 0)
    made = key.created_at.isoformat()
    return {"id": key.id, "created_at": made, "use": use, "values": values}


def _reseal(store: SealedStore, *, plain: bool, quiet: bool) -> Resealed:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=quiet) as progress:
        line = progress.add_task("sealing", total=None)
        return store.reseal(plain=plain, on_done=lambda n: progress.update(line, advance=n))
