"""`ai-agent test`: run suites of tests, and write a suite from what has run.

Invariant: stdout holds the results (or the one JSON document) and nothing else; how it goes on is told
on stderr.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from celery_app.cli import options

if TYPE_CHECKING:
    from celery_app.testing.results import TestResult, TestResults

__all__ = ["test"]


class Suites(click.Group):
    """A group whose arguments are paths unless the first is one of its commands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command in front that runs suites, where none is named."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show how it is used most."""
        formatter.write_usage(ctx.command_path, "PATH... [OPTIONS] | COMMAND [ARGS]...")


@click.group(cls=Suites, no_args_is_help=True)
def test() -> None:
    """Run suites of tests for agents and workflows.

    A suite is a file NAME.agenttest.yaml; a folder means all suites in it. Each case runs on servers,
    queues and a home of its own, and nothing of it is left.

    \b
    Examples:
      ai-agent test config/suites
      ai-agent test my.agenttest.yaml --record    # ask the models, keep their answers
      ai-agent test my.agenttest.yaml --replay --junit report.xml
      ai-agent test run --jobs 2 config/suites    # all options: ai-agent test run --help
      ai-agent test from-run RUN > new.agenttest.yaml
    """


@test.command()
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH..."
)
@click.option(
    "--record", "mode", flag_value="record", help="Ask the models, and keep their answers."
)
@click.option("--replay", "mode", flag_value="replay", help="Use recorded answers; ask no model.")
@click.option(
    "--junit", type=click.Path(path_type=Path), help="Write the results there as JUnit XML."
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    help="How many cases run at once (one for each processor).",
)
@options.as_json
def run(
    paths: tuple[Path, ...],
    mode: Literal["record", "replay"] | None,
    junit: Path | None,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Run the suites at PATH.

    The exit code is 1 when a case failed, and 2 when a suite cannot be read.

    \b
    Example:
      ai-agent test run config/suites --replay --json
    """
    from celery_app.cli.screen import print_json
    from celery_app.testing.framework import AgentTestFramework
    from celery_app.testing.reading import find_suites, read_suite

    suites = [read_suite(path) for path in find_suites(paths)]
    all_results: list[TestResults] = []
    for suite in suites:
        framework = AgentTestFramework(mode=mode or "as_written", side_by_side=jobs, tell=_tell)
        click.echo(f"{suite.name}: {_number(len(suite.test_cases), 'case')}", err=True)
        all_results.append(framework.run(suite))
    if junit is not None:
        _write_junit(junit, all_results)
    if as_json:
        print_json([results.as_json() for results in all_results])
    else:
        for results in all_results:
            _print(results)
    if not all(results.passed for results in all_results):
        sys.exit(1)


@test.command("from-run")
@click.argument("run_id", metavar="RUN")
@click.option("--name", help="The name of the suite; by default that of the workflow, or `job`.")
@options.as_json
def from_run(run_id: str, name: str | None, as_json: bool) -> None:
    """Write a suite that does again what RUN did, and expects the same.

    RUN is the id of a task or of a run of a workflow.

    \b
    Example:
      ai-agent test from-run 3f2a > report.agenttest.yaml
    """
    from celery_app.cli.screen import print_json
    from celery_app.cli.system import find_task, open_client
    from celery_app.testing.from_run import suite_from, written

    client = open_client()
    document = suite_from(client, find_task(client, run_id).id, name)
    if as_json:
        print_json(document)
    else:
        click.echo(written(document), nl=False)


@test.command()
def schema() -> None:
    """Print the JSON schema of a suite's file, for editors.

    \b
    Example:
      ai-agent test schema > agenttest.schema.json
    """
    from celery_app.cli.screen import print_json
    from celery_app.testing.reading import schema as described

    print_json(described())


def _tell(news: str | TestResult) -> None:
    if isinstance(news, str):
        return
    mark = {"passed": "✓", "failed": "✗"}.get(news.status, "↷")
    click.echo(f"  {mark} {news.case}  {news.metrics.get('seconds', 0):.1f} s", err=True)


def _print(results: TestResults) -> None:
    from celery_app.testing.results import TestStatus

    for result in results.results:
        click.echo(f"{result.status:<8}{results.suite}: {result.case}{_rate(result)}")
        for error in result.errors:
            click.echo(f"        {error}")
        for judgement in result.judgements:
            verdict = "yes" if judgement.passed else "no"
            click.echo(f"        judged: {verdict}: {judgement.rubric}: {judgement.reason}")
    for words in results.stale:
        click.echo(f"stale   {results.suite}: nobody asked any more: {words}")
    counts = [f"{len(results.of(status))} {status}" for status in TestStatus if results.of(status)]
    click.echo(f"{results.suite}: {', '.join(counts)}")


def _rate(result: TestResult) -> str:
    if result.repeats < 2:
        return ""
    low, high = result.as_json()["interval"]
    return f"  {result.passes} of {result.repeats}, 95 % interval {low:.2f} to {high:.2f}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _write_junit(path: Path, results: list[Any]) -> None:
    from celery_app.errors import ConfigurationError
    from celery_app.testing.junit import document

    try:
        document(results).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written ({error.strerror})") from error
