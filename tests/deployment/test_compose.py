"""docker-compose.yml: sound by the published schema, and all that the specification asks for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft201909Validator

from celery_app.settings import make_settings
from celery_app.sources import Source
from tests.deployment.composition import (
    ROOT,
    as_list,
    as_mapping,
    environment,
    ignored_by_git,
    read_compose,
    variables_asked_for,
)

HERE = Path(__file__).parent
SPECIFIED = yaml.safe_load((HERE / "specification_compose.yaml").read_text())
OURS = {"orchestrator", "agent_pool", "beat", "flower"}
COMPOSE = read_compose()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def faults(document: Any) -> list[str]:
    schema = json.loads((HERE / "compose_spec.json").read_text())
    return [error.message for error in Draft201909Validator(schema).iter_errors(document)]


def test_it_is_sound_by_the_published_schema() -> None:
    assert faults(COMPOSE) == []


def test_the_schema_finds_what_is_wrong() -> None:
    assert faults({**COMPOSE, "services": {"orchestrator": {"imagine": "x"}}})


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def normal(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with each `environment` as a mapping and each list as one key an entry."""
    services = {}
    for name, service in document["services"].items():
        told = dict(service)
        told["environment"] = as_mapping(service.get("environment"))
        for several in ("depends_on", "volumes", "ports", "secrets"):
            told[several] = dict.fromkeys(as_list(service.get(several)), True)
        services[name] = told
    return {**document, "services": services}


# The doors are for this machine alone unless .env says otherwise.
_DOOR = "services.orchestrator.ports.8000:8000"


def test_every_key_of_the_specification_is_here() -> None:
    wanted = {path: value for path, value in leaves(normal(SPECIFIED)) if value not in ({}, None)}
    found = dict(leaves(normal(COMPOSE)))
    missing = {path: value for path, value in wanted.items() if found.get(path) != value}
    assert missing == {_DOOR: True}
    assert SERVICES["orchestrator"]["ports"] == ["127.0.0.1:8000:8000"]
    assert read_compose({"API_ADDRESS": "8000"})["services"]["orchestrator"]["ports"] == [
        "8000:8000"
    ]
    # Large results stand in a folder that all workers share.
    assert COMPOSE["volumes"].keys() == SPECIFIED["volumes"].keys() | {"artifacts"}
    assert len(wanted) > 20


def test_system_yaml_has_every_key_of_the_specification() -> None:
    specified = yaml.safe_load((HERE / "specification_system.yaml").read_text())
    ours = dict(leaves(yaml.safe_load((ROOT / "config/system.yaml").read_text())))
    assert {path: ours.get(path) for path, _ in leaves(specified)} == dict(leaves(specified))


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_watched_restarted_and_limited(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"
    assert service["deploy"]["resources"]["limits"]["memory"]
    for other, how in service.get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}
        assert "healthcheck" in SERVICES[other]


@pytest.mark.parametrize("name", sorted(OURS))
def test_ours_have_no_rights_and_all_that_they_read(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert service["build"]["args"] == {"UID": "1000"}
    mounted = {line.split(":")[1] for line in service["volumes"]}
    secrets = {f"/run/secrets/{secret}" for secret in service["secrets"]}
    variables = as_mapping(service["environment"]).values()
    read = [str(value) for value in variables if str(value).startswith("/")]
    assert read
    for path in read:
        assert path in secrets or any(path.startswith(folder) for folder in mounted), path


def test_what_is_secret_is_kept_out_of_git() -> None:
    files = [secret["file"] for secret in COMPOSE["secrets"].values()]
    for path in ("keys/current", ".env", *files):
        assert ignored_by_git(path), path
    assert not ignored_by_git("config/system.yaml")


@pytest.mark.parametrize("name", sorted(OURS))
def test_its_variables_are_settings_that_are_understood(name: str, tmp_path: Path) -> None:
    for secret in COMPOSE["secrets"]:
        (tmp_path / secret).write_text("once upon a time")
    variables = environment(SERVICES[name], {"/run/secrets": tmp_path})
    source = Source.read(ROOT / "config/system.yaml")
    source.override(variables)
    settings = make_settings(source, ROOT / "config")
    assert settings.database_url.startswith("postgresql+psycopg2://postgres:once")
    assert "@database:5432/ai_agent_db" in settings.database_url
    assert settings.broker_url == "redis://message_bus:6379/0"
    assert settings.ollama_hosts == ["http://ollama:11434"]
    assert settings.components.ollama.pull is True


def test_the_example_of_the_environment_has_every_variable() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    assert {
        line.split("=")[0] for line in lines if re.match(r"\w+=", line)
    } == variables_asked_for()


def test_the_secrets_are_made_once(tmp_path: Path) -> None:
    for name in ("docker", "config"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "docker").unlink()
    (tmp_path / "docker").mkdir()
    script = tmp_path / "docker/make_secrets.sh"
    script.write_text((ROOT / "docker/make_secrets.sh").read_text())
    (tmp_path / ".env.example").write_text((ROOT / ".env.example").read_text())

    def made() -> dict[str, tuple[int, str]]:
        program = Path(sys.executable).with_name("ai-agent")
        variables = {"AI_AGENT": str(program), "PYTHON": sys.executable, "PATH": "/usr/bin:/bin"}
        subprocess.run(["sh", str(script)], env=variables, check=True, capture_output=True)
        folders = [tmp_path / "secrets", tmp_path / "keys"]
        files = [path for folder in folders for path in folder.iterdir() if path.is_file()]
        return {
            str(path.relative_to(tmp_path)): (path.stat().st_mode & 0o777, path.read_text())
            for path in (*files, tmp_path / ".env")
        }

    first = made()
    assert {
        "secrets/db_password.txt",
        "secrets/flower_password.txt",
        "keys/current",
    } <= first.keys()
    assert {mode for mode, _ in first.values()} == {0o600}
    assert "AI_AGENT_UID=0" not in first[".env"][1]
    assert made() == first
