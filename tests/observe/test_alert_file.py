"""Mistakes in the file of alerts, and the commands about them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from celery_app.cli.main import cli
from celery_app.client import Client
from celery_app.errors import ConfigurationError
from celery_app.observe.alert_rules import AlertFile
from tests.observe.alert_desk import Desk

pytestmark = pytest.mark.timeout(240)

ONE = "rules:\n  - {name: a, kind:"
MISTAKES = [
    ("rules: [{name: a, kind: levl}]", "a.yaml:1: rules.0 has the kind 'levl': known are"),
    (
        "rules:\n  - name: a\n    kind: level\n    levle: ERROR",
        "a.yaml:4: levle is not a known key",
    ),
    (f"{ONE} pattern, pattern: '('}}", "no regular expression"),
    (f"{ONE} level, notify: [nobody]}}", "a.yaml:2: there is no notifier 'nobody'"),
    (f"{ONE} threshold, metric: agents.error_rate}}", "give one of above and below"),
    (f"{ONE} threshold, metric: agents.eror_rate, above: 1}}", "there is no eror_rate"),
    (f"{ONE} deadline}}\n  - {{name: a, kind: deadline}}", "a.yaml:3: there is another"),
    ("notifiers:\n  x: {kind: webhook, url: 'ftp://x'}", "a.yaml:2: url is 'ftp://x'"),
    (f"{ONE} rate, more_than: 1, within: soon}}", "write a duration"),
    ("rule: []", "did you mean rules?"),
    ("rules: [1]", "kind"),
    (f"{ONE} absence, within: 1h, group_by: [run]}}", "has no groups"),
]


class TestTheFile:
    @pytest.mark.parametrize(("text", "words"), MISTAKES)
    def test_a_mistake_is_told_with_its_line(self, tmp_path: Path, text: str, words: str) -> None:
        file = tmp_path / "a.yaml"
        file.write_text(text)
        with pytest.raises(ConfigurationError) as refused:
            AlertFile.load(file)
        assert words in str(refused.value)

    def test_the_shipped_one_is_right(self) -> None:
        file = AlertFile.load(Path(__file__).parents[2] / "config" / "alerts.yaml")
        assert [rule.name for rule in file.rules] == ["errors", "deadlines"]


class TestTheCommand:
    def run(self, *args: str, code: int = 0) -> str:
        done = CliRunner().invoke(cli, ["alerts", *args])
        assert done.exit_code == code, done.output
        return done.output

    def test_it_lists_silences_and_resolves(self, client: Client, tmp_path: Path) -> None:
        desk = Desk(tmp_path, "  - {name: NAME, kind: level, logger: LOGGER}")
        desk.say("broken")
        (alert,) = desk.look()
        listed = json.loads(self.run("--json"))
        assert [each["state"] for each in listed if each["id"] == alert.id] == ["firing"]
        assert desk.name in self.run()
        assert desk.name in self.run("list")
        number = json.loads(self.run("silence", desk.name, "--for", "1h", "--json"))["id"]
        assert number in [each["id"] for each in json.loads(self.run("silences", "--json"))]
        self.run("unsilence", str(number))
        self.run("resolve", str(alert.id))
        self.run("resolve", str(alert.id), code=2)
        assert desk.found()[0].resolved_by
        assert desk.name not in self.run("list")
        assert desk.name in self.run("list", "--all")

    def test_it_shows_the_rules_and_what_was_told(self, client: Client, tmp_path: Path) -> None:
        names = [each["name"] for each in json.loads(self.run("rules", "--json"))]
        assert names == ["errors", "deadlines"]
        file = tmp_path / "x.yaml"
        file.write_text("rules: [{name: a, kind: nothing}]")
        self.run("rules", str(file), code=2)
        assert isinstance(json.loads(self.run("told", "--json")), list)

    def test_a_notifier_is_tried_out(self, client: Client) -> None:
        assert "has told it" in self.run("test", "log")
        assert "known are log, ops" in self.run("test", "nobody", code=2)
