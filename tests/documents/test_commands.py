"""`ai-agent docs` on the real servers: what it prints, its exit codes, and who may use it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from celery_app.cli.docs import TYPES
from celery_app.cli.main import cli
from celery_app.orchestrator.documentation_manager import DocumentationManager
from celery_app.security.guard import Guard, Subject
from celery_app.security.policy import Policy, PolicyFile, Rule
from tests.documents.conftest import RIVER, Study
from workflows.document import DocumentationType

pytestmark = pytest.mark.usefixtures("worker")

ROOT = Path(__file__).parents[2]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["docs", *arguments])


def told(*arguments: str) -> Any:
    done = invoke(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_types_are_those_of_the_system() -> None:
    assert list(TYPES) == list(DocumentationType)


def test_a_document_from_its_first_version_to_its_check(study: Study) -> None:
    name, overview = study.name, ("--type", "overview")
    done = invoke("generate", name, *overview)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"# Overview: {name}\n")
    assert f"overview of {name}: 5 of 5 sections are to be written" in done.stderr
    assert f"{name}/overview: version 1" in done.stderr
    again = invoke("generate", name, *overview)
    assert again.stdout == done.stdout
    assert f"{name}/overview: unchanged, version 1" in again.stderr
    document = told("generate", name, "--type", "OVERVIEW")
    assert list(document) == ["id", "type", "version", "content", "metadata"]
    assert (document["type"], document["version"]) == ("overview", 1)
    assert document["content"] == done.stdout == invoke("show", name, *overview).stdout
    assert document["metadata"]["paragraphs"][0]["sources"]
    assert invoke("check", name).stdout == f"{name}/overview: version 1 is up to date\n"

    study.change("river.md", "# River\n\nThe river is dry. Nobody has seen a trout this year.\n")
    stale = invoke("check", name)
    assert stale.exit_code == 1
    assert f"{name}/overview: input:river.md is changed\n" in stale.stdout
    assert f"{name}/overview: to be written again: input:river.md\n" in stale.stdout
    assert told_anyway("check", name)[0]["changes"] == {"input:river.md": "changed"}
    assert told("generate", name, *overview)["version"] == 2
    assert invoke("check", name).exit_code == 0

    diff = invoke("diff", name, *overview).stdout
    assert diff == invoke("diff", name, "1", "2", *overview).stdout
    assert re.search(r"^-The river is nine kilometres long\.", diff, re.MULTILINE)
    assert re.search(r"^\+The river is dry\.", diff, re.MULTILINE)
    assert told("diff", name, *overview)["new"] == 2
    assert invoke("restore", name, "1", *overview).stdout == f"{name}/overview: version 1 holds\n"
    assert invoke("show", name, *overview).stdout == done.stdout
    versions = told("list", name, *overview)
    assert [(each["version"], each["holds"]) for each in versions] == [(2, False), (1, True)]
    assert [each["version"] for each in told("list", name)] == [1]
    assert told("restore", name, "2", *overview)["version"] == 2
    assert "Nobody" not in RIVER


def test_without_a_type_all_that_the_project_lists_are_written(study: Study, code: Path) -> None:
    kinds = ("changelog", "api_reference", "changelog", "status_report")
    listed = [DocumentationType(each) for each in kinds]
    study.manager.change(study.project().spec.model_copy(update={"documents": listed}))
    done = invoke("generate", study.name, "--source", str(code))
    assert done.exit_code == 0, done.output
    titles = re.findall(r"^# (.*)$", done.stdout, re.MULTILINE)
    assert titles == [
        f"{each}: {study.name}" for each in ("Changelog", "API reference", "Status report")
    ]
    assert f"{study.name}/status_report: version 1" in done.stderr
    found = told("generate", study.name)
    assert [(each["type"], each["version"]) for each in found] == [
        ("changelog", 1), ("api_reference", 1), ("status_report", 1),
    ]  # fmt: skip
    assert "\n".join(each["content"] for each in found) == done.stdout


def told_anyway(*arguments: str) -> Any:
    return json.loads(invoke(*arguments, "--json").stdout)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate", "{}", "--type", "novel"], "'novel' is not one of 'readme', 'overview'"),
        (["generate", "{}"], "project {} lists no documents: say which one by --type"),
        (["show", "{}"], "Missing option '--type'"),
        (["generate", "nothing", "--type", "readme"], "there is no project 'nothing'"),
        (["generate", "{}", "--type", "api-reference"], "give a folder with Python files by --source"),
        (["show", "{}", "--type", "readme"], "there is no readme of project {}: `ai-agent docs generate"),
        (["restore", "{}", "9", "--type", "readme"], "there is no version 9 of readme of project {}"),
        (["check", "{}"], "there is no document to check"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(study: Study, arguments: list[str], words: str) -> None:
    done = invoke(*(argument.replace("{}", study.name) for argument in arguments))
    assert done.exit_code == 2
    assert words.replace("{}", study.name) in done.stderr
    assert done.stdout == ""


def guarded(*rules: dict[str, Any]) -> DocumentationManager:
    """Return a manager for somebody who may do just this."""
    file = PolicyFile(rules=[Rule(effect="allow", who=["user:ann"], **rule) for rule in rules])
    policy = Policy(file, [str(number) for number, _ in enumerate(rules)])
    return DocumentationManager(Guard(lambda: Subject("user:ann"), policy, lambda *_: None))


def test_who_may_read_and_who_may_change(study: Study, manager: DocumentationManager) -> None:
    from celery_app.errors import PermissionDenied

    manager.generate(study.name, "changelog", timeout=60)
    reader = guarded({"may": ["document.read"], "resources": ["document:*/changelog"]})
    assert reader.get(study.name, "changelog").version == 1
    assert [str(each.type) for each in reader.versions(study.name)] == ["changelog"]
    with pytest.raises(PermissionDenied, match=r"document\.read on document:.*/readme"):
        reader.get(study.name, "readme")
    with pytest.raises(PermissionDenied, match=r"document\.change"):
        reader.restore(study.name, "changelog", 1)
    with pytest.raises(PermissionDenied, match=r"project\.read"):
        reader.check(study.name, "changelog")
    writer = guarded(
        {"may": ["document.*", "project.read"]},
        {"may": ["task.submit"], "resources": ["celery:document.*"]},
    )
    with pytest.raises(PermissionDenied, match=r"task\.submit on agent:writer"):
        writer.start(study.name, "overview")
    assert writer.start(study.name, "changelog").run is None
    blind = guarded({"may": ["project.*"]})
    with pytest.raises(PermissionDenied, match=r"document\.read on document:\*/\*"):
        blind.versions()
