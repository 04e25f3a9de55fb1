"""config/system.yaml: what is read, what is refused and in which words, and what is never shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from kombu import Connection
from sqlalchemy import make_url

import celery_app
from celery_app import urls
from celery_app.errors import ConfigurationError
from celery_app.settings import SystemSettings, load_settings
from celery_app.sizes import format_size, parse_size
from celery_app.stack.profile import current_settings, ensure_stack, is_embedded

CONFIG = Path(celery_app.__path__[0]).parent / "config"

# The specification's own words.
SPECIFIED = """
system:
  name: ai-agent-system
  version: "1.0.0"
components:
  message_bus: {type: redis, host: localhost, port: 6379}
  database: {type: postgresql, host: localhost, port: 5432, name: ai_agent_db}
  ollama: {host: localhost, port: 11434, models: [{name: llama2, tags: ["latest"]}]}
security:
  encryption: {key_path: "/etc/ai-agent/keys", algorithm: "AES-256-GCM"}
  permissions: {default_policy: deny, policy_file: "/etc/ai-agent/security/policies.yaml"}
monitoring:
  metrics: {interval: 60, retention_days: 30}
  logging: {level: INFO, format: json, output: stdout}
resources:
  cpu: {limit_per_agent: 1.0, total_limit: 8.0}
  memory: {limit_per_agent: "1Gi", total_limit: "16Gi"}
"""


def load(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> SystemSettings:
    (folder / "system.yaml").write_text(text)
    return load_settings(folder, environ or {}, check_files=False)


def test_the_shipped_file_says_what_the_specification_says() -> None:
    assert yaml.safe_load((CONFIG / "system.yaml").read_text()) == yaml.safe_load(SPECIFIED)


def test_the_specified_file_becomes_values(tmp_path: Path) -> None:
    settings = load(tmp_path, SPECIFIED)
    assert settings.system.version == "1.0.0"
    assert settings.components.ollama.models[0].tags == ["latest"]
    assert settings.resources.memory.total_limit == 16 * 2**30
    assert settings.database_url == "postgresql+psycopg2://postgres@localhost:5432/ai_agent_db"
    assert settings.broker_url == "redis://localhost:6379/0"
    assert settings.ollama_hosts == ["http://localhost:11434"]
    assert settings.security.permissions.default_policy == "deny"


def test_every_key_has_the_specified_value_when_it_is_left_out(tmp_path: Path) -> None:
    written, left_out = load(tmp_path, SPECIFIED).shown(), load(tmp_path, "").shown()
    left_out["components"]["ollama"]["models"] = written["components"]["ollama"]["models"]
    assert left_out == written


def test_the_commented_additions_of_the_shipped_file_are_known(tmp_path: Path) -> None:
    text = re.sub(
        r'^( *)# (?=(?:[a-z_ ]+| *"[^"]+"):( |$))',
        r"\1",
        (CONFIG / "system.yaml").read_text(),
        flags=re.MULTILINE,
    )
    for name in ("redis_password", "db_password", "flower_password", "shop_webhook"):
        (tmp_path / name).write_text("secret\n")
    settings = load(tmp_path, text.replace("/run/secrets/", ""))
    assert settings.imports == ["reports.tasks"]
    assert settings.leases.renew_seconds == 5
    assert settings.recovery.enabled
    assert settings.limits["agent:writer"].per_second == 100 / 60
    assert settings.worker.pool == "threads"
    assert settings.monitoring.tracing.endpoint == "http://localhost:4318"
    assert settings.monitoring.flower.secret == "secret"
    assert settings.tools.folders == [Path("/srv/notes")]
    assert settings.tools.hosts[1:] == ["*.example.org", "localhost:8080"]
    assert (settings.tools.largest, settings.tools.rounds, settings.tools.timeout) == (65536, 6, 20)
    assert settings.tools.imports == ["shop.tools.stock_of"]
    assert settings.agents_file == tmp_path / "agents.yaml"
    assert settings.workflows_dir == tmp_path / "workflows"
    assert settings.webhooks["shop"].secret == "secret"
    assert settings.ollama_hosts[1:] == ["http://gpu2:11434", "https://models.example.org"]
    assert settings.components.message_bus.unix_socket == Path("/run/redis/redis.sock")


def test_no_tool_reaches_anything_unless_it_is_named(tmp_path: Path) -> None:
    tools = load(tmp_path, "").tools
    assert (tools.folders, tools.hosts, tools.imports) == ([], [], [])
    assert load(tmp_path, "tools: {folders: [notes]}").tools.folders == [tmp_path / "notes"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "components:\n  database:\n    hots: x\n",
            "system.yaml:3: components.database.hots is not a known key:"
            " did you mean components.database.host?",
        ),
        (
            "system:\n  name: x\ndatabase:\n  host: x\n",
            "system.yaml:3: database is not a known key: did you mean components.database?",
        ),
        (
            "leases:\n  zzz: 1\n",
            "system.yaml:2: leases.zzz is not a known key: known here are renew_seconds, seconds",
        ),
        (
            "components:\n  ollama:\n    models:\n      - name: a\n        tgas: []\n",
            "system.yaml:5: components.ollama.models.0.tgas is not a known key:"
            " did you mean components.ollama.models.0.tags?",
        ),
        (
            "components:\n  message_bus:\n    type: rabbitmq\n",
            "system.yaml:3: components.message_bus.type is 'rabbitmq': input should be 'redis'",
        ),
        ("components: {database: {type: mysql}}", "input should be 'postgresql'"),
        ("security: {encryption: {algorithm: AES-128-CBC}}", "input should be 'AES-256-GCM'"),
        ("security: {permissions: {default_policy: maybe}}", "input should be 'allow' or 'deny'"),
        (
            "resources:\n  memory:\n    total_limit: many\n",
            ":3: resources.memory.total_limit is 'many'",
        ),
        ("resources: {cpu: {limit_per_agent: 9}}", "limit_per_agent is more than cpu.total_limit"),
        (
            "tools:\n  hosts: ['https://example.org']\n",
            "system.yaml:2: tools.hosts.0 is 'https://example.org': write a host as example.org,",
        ),
        ("tools:\n  folder: [x]\n", "tools.folder is not a known key: did you mean tools.folders?"),
        ("tools: {rounds: 0}", "tools.rounds is 0: input should be greater than 0"),
        ("tools: {largest: much}", "tools.largest is 'much'"),
        ("leases: {seconds: 6, renew_seconds: 5}", "renew_seconds must be at most half of seconds"),
        (
            "components: {ollama: {hosts: ['http://u:secret@h']}}",
            "may not carry a user or password",
        ),
        ("components: {ollama: {host: 'x:99999'}}", "components.ollama: port out of range"),
        ("system:\n  name: a\n  name: b\n", "system.yaml:3: the key 'name' was written before"),
        ("system: [\n  a: b: c\n", "system.yaml:2: this is not YAML, at column 7: expected"),
        ("a\tb: 'x", "this is not YAML"),
        ("- one\n", "system.yaml:1: keys are expected here"),
        ("system: 3\n", "system.yaml:1: system is 3: "),
    ],
)
def test_what_is_wrong_is_refused_in_one_line_that_says_where(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, text)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_any_key_can_be_overridden_by_the_environment(tmp_path: Path) -> None:
    environ = {
        "AI_AGENT__COMPONENTS__DATABASE__HOST": "db.example.org",
        "AI_AGENT__COMPONENTS__DATABASE__PORT": "5433",
        "AI_AGENT__COMPONENTS__DATABASE__NAME": "123",
        "AI_AGENT__COMPONENTS__OLLAMA__HOSTS": "[gpu1, gpu2]",
        "AI_AGENT__RECOVERY__ENABLED": "false",
        "AI_AGENT__RESOURCES__MEMORY__LIMIT_PER_AGENT": "512Mi",
        "AI_AGENT_HOME": "/elsewhere",
    }
    settings = load(tmp_path, SPECIFIED, environ)
    assert settings.database_url == "postgresql+psycopg2://postgres@db.example.org:5433/123"
    assert settings.ollama_hosts == ["http://gpu1:11434", "http://gpu2:11434"]
    assert settings.recovery.enabled is False
    assert settings.resources.memory.limit_per_agent == 512 * 2**20


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (
            "AI_AGENT__COMPONENTS__DATABSE__HOST",
            "x",
            "AI_AGENT__COMPONENTS__DATABSE__HOST: components.databse is not a known key:"
            " did you mean components.database?",
        ),
        ("AI_AGENT__WORKER__CONCURRENCY", "many", "worker.concurrency is 'many'"),
        ("AI_AGENT__SYSTEM__NAME__X", "1", "system.name holds a value, not keys"),
        ("AI_AGENT__SYSTEM__NAME", "[", "is not a YAML value"),
        ("AI_AGENT__", "1", "names no key"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(
    tmp_path: Path, variable: str, value: str, message: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, SPECIFIED, {variable: value})
    assert str(refused.value).startswith(variable)
    assert message in str(refused.value)


def test_passwords_come_from_files_and_are_shown_nowhere_but_in_urls(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p@ss:/%\n")
    text = (
        "components: {database: {password_file: password}, message_bus: {password_file: password}}"
    )
    settings = load(tmp_path, text)
    assert make_url(settings.database_url).password == "p@ss:/%"
    broker = Connection(settings.broker_url)
    assert broker.password == "p@ss:/%"
    for shown in (repr(settings), str(settings), str(settings.shown()), settings.model_dump_json()):
        assert "p@ss" not in shown
    assert settings.shown()["components"]["database"]["password_file"].endswith("password")


def test_a_missing_password_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"password_file .*nowhere cannot be read .*: write"
    ):
        load(tmp_path, "components: {database: {password_file: nowhere}}")


def test_missing_files_are_refused_with_the_way_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"system.yaml does not exist: copy config"):
        load_settings(tmp_path, {})
    (tmp_path / "system.yaml").write_text(
        "security: {encryption: {key_path: keys}, permissions: {policy_file: policies.yaml}}\n"
        "agents_file: agents.yaml\n"
    )
    for name, message in [
        ("keys/current", "`ai-agent keys create` makes one"),
        ("policies.yaml", "copy config/policies.yaml there"),
        ("agents.yaml", "copy config/agents.yaml"),
    ]:
        with pytest.raises(ConfigurationError, match=re.escape(message)):
            load_settings(tmp_path, {})
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert load_settings(tmp_path, {}).security.encryption.key_path == tmp_path / "keys"


def test_a_configured_folder_takes_the_place_of_the_embedded_servers(tmp_path: Path) -> None:
    (tmp_path / "system.yaml").write_text(SPECIFIED)
    environ = {"CONFIG_PATH": str(tmp_path), "AI_AGENT_HOME": str(tmp_path / "home")}
    assert not is_embedded(environ)
    assert current_settings(environ, check_files=False).broker_url == "redis://localhost:6379/0"
    ensure_stack(environ)
    assert not (tmp_path / "home").exists()


text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


@given(user=text, password=text, name=text)
def test_a_database_url_gives_back_what_went_in(user: str, password: str, name: str) -> None:
    url = make_url(urls.database_url(user, password, "db.example.org", 5433, name))
    assert (url.username, url.password, url.database) == (user, password, name)
    assert (url.host, url.port) == ("db.example.org", 5433)


@given(password=text, name=text)
def test_a_socket_url_gives_back_what_went_in(password: str, name: str) -> None:
    path = Path("/run", name.replace("/", "-") + ".sock")
    parts = urlsplit(urls.socket_url(password, path, 3))
    assert unquote(parts.password or "") == password
    assert unquote(parts.path) == str(path)
    assert parts.query == "virtual_host=3"


@given(st.integers(min_value=1, max_value=2**50))
def test_a_size_is_shown_as_it_can_be_read(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("gpu1", "http://gpu1:11434"),
        ("gpu1:80", "http://gpu1:80"),
        ("::1", "http://[::1]:11434"),
        ("[::1]:80", "http://[::1]:80"),
        ("https://models.example.org/ollama/", "https://models.example.org/ollama"),
    ],
)
def test_a_host_is_completed(host: str, url: str) -> None:
    assert urls.http_url(host, "http", 11434) == url
