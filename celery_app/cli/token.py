"""`ai-agent token`: tokens for programs that ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from celery_app.cli import options

if TYPE_CHECKING:
    from celery_app.store.access import AccessStore

__all__ = ["token"]


@click.group()
def token() -> None:
    """Make, list and revoke tokens. Who holds one is `token:NAME` in the policy.

    \b
    Examples:
      ai-agent token create ci --scope "task.*" --expires 30d
      AI_AGENT_TOKEN=aiat_... ai-agent run "Sum this up" --input report.md
      ai-agent token revoke ci
    """


@token.command()
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, help="Only these actions, such as task.read or workflow.*"
)
@click.option("--expires", type=options.SECONDS, help="For how long it is good: 12h, 30d.")
@options.as_json
def create(name: str, scopes: tuple[str, ...], expires: float | None, as_json: bool) -> None:
    """Make a token and print it. It is shown this once: what is stored cannot show it again.

    \b
    Example:
      ai-agent token create ci --scope "task.*" --expires 30d
    """
    from celery_app.cli.screen import print_json

    made, text = _store(f"token:{name}", scopes).create(name, scopes, expires)
    if as_json:
        print_json({**made.as_json(), "token": text})
    else:
        click.echo(text)
        click.echo(f"it is token:{name} in the policy, and is not shown again", err=True)


@token.command("list")
@options.as_json
def list_tokens(as_json: bool) -> None:
    """List the tokens, without their secrets.

    \b
    Example:
      ai-agent token list --json
    """
    from celery_app.cli.screen import print_json, print_table

    shown = [each.as_json() for each in _store("token:*").tokens()]
    if as_json:
        print_json(shown)
        return
    rows = [
        (
            each["name"],
            "good" if each["good"] else "revoked" if each["revoked_at"] else "expired",
            ", ".join(each["scopes"]) or "any",
            each["expires_at"] or "never",
        )
        for each in shown
    ]
    print_table(("name", "state", "scopes", "expires"), rows)


@token.command()
@click.argument("name")
def revoke(name: str) -> None:
    """Make the token NAME useless, within seconds.

    \b
    Example:
      ai-agent token revoke ci
    """
    revoked = _store(f"token:{name}").revoke(name)
    click.echo(f"token {revoked.name} is revoked")


def _store(resource: str, scopes: tuple[str, ...] | None = None) -> AccessStore:
    from celery_app.celery import access, guard, prepare

    prepare()
    asking = guard()
    asking.require("token.change", resource)
    if scopes is not None:
        asking.require_scopes(scopes)
    return access
