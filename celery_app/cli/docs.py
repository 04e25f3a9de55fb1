"""`ai-agent docs ...`: what is written about projects, in versions.

Invariant: stdout holds the document (or the one JSON value) and nothing else; progress goes to stderr.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from celery_app.cli import options

if TYPE_CHECKING:
    from celery_app.client import Client
    from celery_app.store.documents import DocumentVersion
    from workflows.document import Document, Finding

__all__ = ["docs"]

#: As in workflows.document.DocumentationType: to import that costs more than help may.
TYPES = (
    "readme", "overview", "architecture", "api_reference",
    "user_guide", "status_report", "changelog", "decision_record",
)  # fmt: skip


class DocumentType(click.Choice[str]):
    """A type of document; dashes do as well as underscores."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the type as it is called everywhere."""
        return super().convert(str(value).lower().replace("-", "_"), param, ctx)


_TYPE = DocumentType(TYPES)
_type = click.option("--type", "doc_type", type=_TYPE, required=True, help="What kind of document.")
_version = click.IntRange(min=1)


@click.group()
def docs() -> None:
    """Documents about projects: written from what is known, kept in versions, checked for being out of date.

    \b
    Examples:
      ai-agent docs generate market-study --type status_report
      ai-agent docs generate market-study --type api_reference --source ./src
      ai-agent docs check market-study
    """


@docs.command()
@click.argument("project")
@click.option(
    "--type",
    "doc_type",
    type=_TYPE,
    help="What kind of document; by default all that the project lists under `documents`.",
)
@click.option(
    "--source", "folder", type=click.Path(path_type=Path), metavar="FOLDER",
    help="The code that it is about; by default that of the version before.",
)  # fmt: skip
@click.option(
    "--timeout", type=options.SECONDS, metavar="SECONDS",
    help="Stop waiting after so long (30, 15m, 2h); the writing goes on.",
)  # fmt: skip
@options.as_json
def generate(
    project: str, doc_type: str | None, folder: Path | None, timeout: float | None, as_json: bool
) -> None:
    """Write a document of what PROJECT is now, and print it; without --type all that PROJECT lists.

    Only sections whose sources have changed are written again; if none has, nothing is. Without --type
    the folder of --source is for those that can be about code, and --json prints a list.

    \b
    Examples:
      ai-agent docs generate market-study
      ai-agent docs generate market-study --type architecture --source ./src
      ai-agent docs generate market-study --type status_report --json | jq -r .content
    """
    from celery_app.cli.screen import print_json
    from celery_app.cli.system import open_client
    from workflows.outline import USES_CODE

    client = open_client()
    if doc_type is not None:
        _print(_written(client, project, doc_type, folder, timeout), as_json)
        return
    types = client.documents.listed(project)
    able = [each for each in types if each in USES_CODE] or types
    documents = [
        _written(client, project, each, folder if each in able else None, timeout) for each in types
    ]
    if as_json:
        print_json([_json(document) for document in documents])
    else:
        click.echo("\n".join(document.content for document in documents), nl=False)


def _written(
    client: Client, project: str, doc_type: str, folder: Path | None, timeout: float | None
) -> Document:
    """Return a document after it was written, which is shown."""
    from celery_app.cli.system import note
    from celery_app.cli.waiting import TASK, watch

    before = _holding_version(client, project, doc_type)
    writing = client.documents.start(project, doc_type, folder)
    if writing.run is not None:
        anew, all_ = len(writing.written), len(writing.sections)
        note(f"{doc_type} of {writing.project}: {anew} of {all_} sections are to be written")
        watch(client.task(writing.run), TASK, timeout)
    document = client.documents.get(writing.project, doc_type)
    standing = "unchanged, version" if document.version == before else "version"
    note(f"{document.name}: {standing} {document.version}")
    return document


@docs.command("list")
@click.argument("project", required=False)
@click.option("--type", "doc_type", type=_TYPE, help="All versions of this document.")
@options.as_json
def list_(project: str | None, doc_type: str | None, as_json: bool) -> None:
    """List the documents of all projects or of PROJECT; with --type all versions, newest first.

    \b
    Examples:
      ai-agent docs list
      ai-agent docs list market-study --type readme
    """
    from dataclasses import asdict

    from celery_app.cli.screen import print_json, print_table
    from celery_app.cli.system import open_client

    found = open_client().documents.versions(project, doc_type)
    shown = found if doc_type else [each for each in found if each.holds]
    if as_json:
        moments = [{**asdict(each), "created_at": each.created_at.isoformat()} for each in shown]
        print_json(moments)
        return
    rows = [
        (each.project, each.type, each.version, _standing(each),
         each.created_at.isoformat()[:19], each.sha256[:12])
        for each in shown
    ]  # fmt: skip
    print_table(("project", "type", "version", "", "written", "sha256"), rows)


@docs.command()
@click.argument("project")
@_type
@click.option("--version", type=_version, help="By default the one that holds.")
@options.as_json
def show(project: str, doc_type: str, version: int | None, as_json: bool) -> None:
    """Print a document; --json also says where each paragraph comes from.

    \b
    Examples:
      ai-agent docs show market-study --type readme > README.md
      ai-agent docs show market-study --type readme --version 1 --json | jq .metadata.paragraphs
    """
    from celery_app.cli.system import open_client

    _print(open_client().documents.get(project, doc_type, version), as_json)


@docs.command()
@click.argument("project")
@click.argument("old", type=_version, required=False)
@click.argument("new", type=_version, required=False)
@_type
@options.as_json
def diff(project: str, doc_type: str, old: int | None, new: int | None, as_json: bool) -> None:
    """Print what has changed between two versions, as `patch` takes it.

    By default from the version before to the one that holds.

    \b
    Examples:
      ai-agent docs diff market-study --type readme
      ai-agent docs diff market-study 1 3 --type readme
    """
    from celery_app.cli.screen import print_json
    from celery_app.cli.system import open_client
    from celery_app.document_desk import compared
    from workflows.document import difference

    earlier, later = compared(open_client().documents, project, doc_type, old, new)
    lines = difference(earlier, later)
    if as_json:
        print_json({"old": earlier.version, "new": later.version, "diff": lines})
    else:
        click.echo(lines, nl=False)


@docs.command()
@click.argument("project")
@click.argument("version", type=_version)
@_type
@options.as_json
def restore(project: str, version: int, doc_type: str, as_json: bool) -> None:
    """Let an old version hold again. No version is made and none is lost.

    \b
    Example:
      ai-agent docs restore market-study 1 --type readme
    """
    from celery_app.cli.screen import print_json
    from celery_app.cli.system import open_client

    document = open_client().documents.restore(project, doc_type, version)
    if as_json:
        print_json(_json(document))
    else:
        click.echo(f"{document.name}: version {document.version} holds")


@docs.command()
@click.argument("project", required=False)
@click.option("--type", "doc_type", type=_TYPE, help="Only this document.")
@options.as_json
def check(project: str | None, doc_type: str | None, as_json: bool) -> None:
    """Compare documents with what they are made of; the exit code is 1 if a source has changed since.

    \b
    Examples:
      ai-agent docs check
      ai-agent docs check market-study --type api_reference
    """
    from celery_app.cli.screen import print_json
    from celery_app.cli.system import open_client
    from celery_app.errors import DocumentOutdated, UnknownDocument

    documents = open_client().documents
    wanted = [each for each in documents.versions(project, doc_type) if each.holds]
    if not wanted:
        raise UnknownDocument(
            "there is no document to check: `ai-agent docs list` shows those there are"
        )
    findings = [documents.check(each.project, each.type) for each in wanted]
    if as_json:
        print_json([_told(finding) for finding in findings])
    for finding in findings:
        _tell(finding, as_json)
    if outdated := [finding.document.name for finding in findings if finding.changes]:
        raise DocumentOutdated(
            f"{', '.join(outdated)}: sources have changed since; `ai-agent docs generate` writes anew"
        )


def _tell(finding: Finding, as_json: bool) -> None:
    if as_json:
        return
    document = finding.document
    if not finding.changes:
        click.echo(f"{document.name}: version {document.version} is up to date")
    for name, how in finding.changes.items():
        click.echo(f"{document.name}: {name} is {how}")
    if finding.sections:
        click.echo(f"{document.name}: to be written again: {', '.join(finding.sections)}")


def _told(finding: Finding) -> options.JsonObject:
    document = finding.document
    return {
        "id": str(document.id),
        "project": document.metadata.project,
        "type": str(document.type),
        "version": document.version,
        "changes": finding.changes,
        "sections": finding.sections,
    }


def _standing(version: DocumentVersion) -> str:
    by = f" (restored by {version.restored_by})" if version.restored_by else ""
    return f"holds{by}" if version.holds else ""


def _holding_version(client: Client, project: str, doc_type: str) -> int | None:
    found = client.documents.versions(project, doc_type)
    return next((each.version for each in found if each.holds), None)


def _json(document: Document) -> options.JsonObject:
    return document.model_dump(mode="json")


def _print(document: Document, as_json: bool) -> None:
    from celery_app.cli.screen import print_json

    if as_json:
        print_json(_json(document))
    else:
        click.echo(document.content, nl=False)
