"""What Prometheus and Grafana are given: every metric is documented, and every file names real ones."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from celery_app.client import Client
from celery_app.observe.families import FAMILIES
from celery_app.observe.prometheus import CONTENT_TYPE, SystemMetricsCollector, exposition

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
GRAFANA = DOCKER / "grafana" / "provisioning"
NAME = re.compile(r"\bai_agent_\w+")


def names() -> set[str]:
    """Every name that a sample may have."""
    found = set()
    for family in FAMILIES:
        parts = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
        found |= {family.name + part for part in parts}
    return found


def test_names_are_as_prometheus_wants_them() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert re.fullmatch(r"ai_agent_[a-z_]+", family.name)
        assert (family.kind == "counter") == family.name.endswith("_total")
        assert bool(family.bounds) == (family.kind == "histogram")
        assert family.help.endswith(".")


def test_every_metric_is_documented_as_it_is() -> None:
    document = (ROOT / "docs" / "metrics.md").read_text()
    lines = [line for line in document.splitlines() if line.startswith("| `ai_agent_")]
    assert lines == [
        f"| `{family.name}` | {family.kind} | {', '.join(family.labels)} | {family.help} |"
        for family in FAMILIES
    ]


def test_the_exposition_has_every_family(client: Client) -> None:
    from celery_app.celery import prepare

    prepare()
    text = exposition().decode()
    found = {family.name: family for family in text_string_to_metric_families(text)}
    assert found.keys() == {family.name.removesuffix("_total") for family in FAMILIES}
    for family in FAMILIES:
        told = found[family.name.removesuffix("_total")]
        assert (told.type, told.documentation) == (family.kind, family.help)
        for sample in told.samples:
            assert sample.labels.keys() - {"le"} == {*family.labels}
    assert CONTENT_TYPE.startswith("text/plain")


def test_an_applications_own_registry_takes_it_without_asking_the_database() -> None:
    registry = CollectorRegistry()
    registry.register(SystemMetricsCollector())
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(SystemMetricsCollector())


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DOCKER / "prometheus" / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_alert_rules_name_metrics_that_there_are() -> None:
    assert len({rule["alert"] for rule in rules()}) == len(rules())
    for rule in rules():
        used = set(NAME.findall(rule["expr"]))
        assert used
        assert used <= names(), rule["alert"]
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert rule["annotations"]["summary"]


def board() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(
        (DOCKER / "grafana" / "dashboards" / "ai-agent.json").read_text()
    )
    return loaded


def queries() -> Iterator[tuple[str, str, str]]:
    """Title, query and legend of everything on the dashboard."""
    for panel in board()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]


def test_the_dashboard_names_metrics_that_there_are() -> None:
    shown = set()
    for title, query, _ in queries():
        used = set(NAME.findall(query))
        assert used
        assert used <= names(), title
        shown |= used
    families = {family.name for family in FAMILIES}
    assert {name for name in families if any(used.startswith(name) for used in shown)} > {
        "ai_agent_model_idle_seconds_total", "ai_agent_queue_wait_seconds", "ai_agent_attempts_total",
    }  # fmt: skip


def test_queries_and_legends_name_labels_that_there_are() -> None:
    labels = {family.name: {*family.labels} for family in FAMILIES}
    everything = {label for of_one in labels.values() for label in of_one} | {"le"}
    for title, query, legend in queries():
        asked = {*re.findall(r"[{,]\s*(\w+)\s*=~?", query), *re.findall(r"{{(\w+)}}", legend)}
        for by in re.findall(r"by \(([^)]*)\)", query):
            asked |= {label.strip() for label in by.split(",")}
        assert asked <= everything, title
    for rule in rules():
        written = " ".join(rule["annotations"].values())
        assert {*re.findall(r"\$labels\.(\w+)", written)} <= everything, rule["alert"]


def test_panels_have_places_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in board()["panels"]]
    assert len(ids) == len(set(ids))
    for panel in board()["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + right, place["y"] + down)
            for right in range(place["w"])
            for down in range(place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_prometheus_reads_the_rules_where_they_are_mounted() -> None:
    told = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())
    assert told["rule_files"] == ["/etc/prometheus/alerts.yml"]
    (job,) = told["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    services = yaml.safe_load((DOCKER / "monitoring.yml").read_text())["services"]
    assert "./docker/prometheus:/etc/prometheus:ro" in services["prometheus"]["volumes"]
    (source,) = yaml.safe_load((GRAFANA / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"


def test_grafana_finds_the_dashboard_where_it_is_mounted() -> None:
    services = yaml.safe_load((DOCKER / "monitoring.yml").read_text())["services"]
    (provider,) = yaml.safe_load((GRAFANA / "dashboards" / "ai-agent.yml").read_text())["providers"]
    folder = provider["options"]["path"]
    assert f"./docker/grafana/dashboards:{folder}:ro" in services["grafana"]["volumes"]
