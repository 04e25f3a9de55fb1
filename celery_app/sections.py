"""The sections of config/system.yaml, with the specification's keys and defaults.

Invariant: a section holds no secret that its text could show: passwords are read from files and
kept beside the fields.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    model_validator,
)

from agents.tools.hosts import HostPattern
from celery_app.errors import ConfigurationError
from celery_app.redaction import keep_secret
from celery_app.sizes import Size
from celery_app.urls import http_url

__all__ = [
    "Components",
    "Leases",
    "Limit",
    "Ollama",
    "Recovery",
    "Resources",
    "Section",
    "Security",
    "System",
    "Tools",
    "Worker",
]


def _beside(path: Path, info: ValidationInfo) -> Path:
    context: dict[str, Any] = info.context or {}
    folder: Path = context.get("folder", Path())
    try:
        return folder / path.expanduser()
    except RuntimeError:
        raise ValueError("there is no such home folder: write the whole path") from None


FilePath = Annotated[Path, AfterValidator(_beside)]
"""A path as seen from the folder of the settings; `~` is the user's home."""

Port = Annotated[int, Field(ge=1, le=65535)]


class Section(BaseModel):
    """A part of the settings: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, coerce_numbers_to_str=True, hide_input_in_errors=True
    )


def _host_pattern(text: str) -> str:
    HostPattern.parse(text)
    return text


class System(Section):
    """Who this system is, for logs and monitoring."""

    name: str = "ai-agent-system"
    version: str = "1.0.0"


class Protected(Section):
    """A server that may ask for a password, which stands alone in `password_file`."""

    password_file: FilePath | None = None
    _password: SecretStr | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _read_password(self) -> Self:
        if self.password_file is not None:
            try:
                text = self.password_file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError(
                    f"password_file {self.password_file} cannot be read ({error}):"
                    " write the password into it, readable by this user alone"
                ) from error
            keep_secret(text)
            self._password = SecretStr(text)
        return self

    @property
    def secret(self) -> str | None:
        """What stands in the password file, in clear."""
        return self._password.get_secret_value() if self._password else None


class MessageBus(Protected):
    """Redis, or what speaks its protocol; `unix_socket` (a path) goes before host and port."""

    type: Literal["redis"] = "redis"
    host: str = "localhost"
    port: Port = 6379
    db: int = Field(0, ge=0)
    unix_socket: FilePath | None = None


class Database(Protected):
    """PostgreSQL. A `host` that starts with `/` is the folder of a unix socket."""

    type: Literal["postgresql"] = "postgresql"
    host: str = "localhost"
    port: Port = 5432
    name: str = Field("ai_agent_db", min_length=1)
    user: str = Field("postgres", min_length=1)


class OllamaModel(Section):
    """A model that the hosts are expected to have: `llama2` with the tags `latest`."""

    name: str
    tags: list[str] = ["latest"]


class Ollama(Section):
    """Where models answer. `hosts` (`gpu1`, `gpu1:11434` or URLs) takes the place of `host`.

    Each is given `slots` calls at once by the workers of one machine, and asked every
    `probe_interval` seconds how it is. `first_word` and `silence` are the longest waits in a call.
    """

    host: str = "localhost"
    port: Port = 11434
    models: list[OllamaModel] = []
    hosts: list[str] = []
    protocol: Literal["http", "https"] = "http"
    slots: PositiveInt = 4
    pull: bool = False
    probe_interval: PositiveFloat = 1.0
    first_word: PositiveFloat = 300
    silence: PositiveFloat = 60

    @model_validator(mode="after")
    def _addresses_make_sense(self) -> Self:
        assert self.urls
        return self

    @property
    def urls(self) -> list[str]:
        """The URL of each host."""
        hosts = self.hosts or [self.host]
        return [http_url(host, self.protocol, self.port) for host in hosts]


class Components(Section):
    """The servers that the system works with."""

    message_bus: MessageBus = MessageBus()
    database: Database = Database()
    ollama: Ollama = Ollama()


class Encryption(Section):
    """How messages and payloads are sealed; `key_path` is the folder of the keys.

    Unless it is `enabled`, they are sent and stored in clear; what is sealed can be read still.
    """

    enabled: bool = True
    key_path: FilePath = Path("/etc/ai-agent/keys")
    algorithm: Literal["AES-256-GCM"] = "AES-256-GCM"


class Permissions(Section):
    """Who may do what: `policy_file`, and what happens when no rule of it speaks."""

    default_policy: Literal["allow", "deny"] = "deny"
    policy_file: FilePath = Path("/etc/ai-agent/security/policies.yaml")


class Audit(Section):
    """How often what is closed of a journal is sealed (seconds), and how long it is kept (days).

    Without `retention_days` nothing is ever cut.
    """

    interval: PositiveFloat = 60
    retention_days: PositiveFloat | None = None


class Security(Section):
    """Keys, permissions, and the journals of what happened."""

    encryption: Encryption = Encryption()
    permissions: Permissions = Permissions()
    audit: Audit = Audit()


class Cpu(Section):
    """Processors (1.0 is one core)."""

    limit_per_agent: PositiveFloat = 1.0
    total_limit: PositiveFloat = 8.0


class Memory(Section):
    """Bytes, written as `1Gi`, `512Mi` or a number."""

    limit_per_agent: Size = 2**30
    total_limit: Size = 16 * 2**30


class ModelCall(Section):
    """What an agent's task is taken to use while it waits for its model, unless it says itself."""

    cpu: NonNegativeFloat = 0.01
    memory: Size = 8 * 2**20


class Resources(Section):
    """What agents may use: each of them, and all of them together."""

    cpu: Cpu = Cpu()
    memory: Memory = Memory()
    model_call: ModelCall = ModelCall()

    @model_validator(mode="after")
    def _one_fits_in_all(self) -> Self:
        for name, limits in (("cpu", self.cpu), ("memory", self.memory)):
            if limits.limit_per_agent > limits.total_limit:
                raise ValueError(f"{name}.limit_per_agent is more than {name}.total_limit")
        return self


class Limit(Section):
    """How many may run at once (`concurrency`), and how many may start (`rate`: `10/s`, `100/m`)."""

    concurrency: PositiveInt | None = None
    rate: str | None = Field(None, pattern=r"^\d+(\.\d+)?/[smh]$")

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.concurrency is None and not self.per_second:
            raise ValueError("give concurrency, or a rate above zero such as 10/m")
        return self

    @property
    def per_second(self) -> float | None:
        """The rate as starts in a second."""
        if self.rate is None:
            return None
        number, unit = self.rate.split("/")
        return float(number) / {"s": 1, "m": 60, "h": 3600}[unit]


class Worker(Section):
    """How a worker process runs its tasks.

    What a worker holds goes to another one when it has given no sign for `visibility_timeout`
    seconds; all workers of one message bus must agree on it. A worker that is to end lets its tasks
    run on for `soft_shutdown_timeout` seconds, then others get them.
    """

    pool: Literal["threads", "prefork", "solo"] = "threads"
    concurrency: PositiveInt = 16
    visibility_timeout: PositiveFloat = 60
    soft_shutdown_timeout: float = Field(10, ge=0)


class Leases(Section):
    """For how long a running task is its worker's own, and how often that is renewed (seconds)."""

    seconds: PositiveFloat = 15
    renew_seconds: PositiveFloat = 5

    @model_validator(mode="after")
    def _renewed_in_time(self) -> Self:
        if self.renew_seconds * 2 > self.seconds:
            raise ValueError("renew_seconds must be at most half of seconds, or one delay loses it")
        return self


class Recovery(Section):
    """Whether cut-short work is looked for, how often, and how late it may be (seconds).

    A task whose worker vanished `poison_limit` times is failed, or it would end all workers.
    """

    enabled: bool = True
    interval: PositiveFloat = 5
    grace: PositiveFloat = 10
    poison_limit: PositiveInt = 3


class Artifacts(Section):
    """What is kept of work: up to `inline` bytes in Postgres, up to `largest` in files of `folder`."""

    folder: FilePath = Path("/var/lib/ai-agent/artifacts")
    inline: Size = 2**20
    largest: Size = 100 * 2**20


class Tools(Section):
    """What the tools of agents may reach, and how much.

    `read_file` reads below `folders`, `http_get` asks `hosts`. A call gives back at most `largest`
    bytes within `timeout` seconds, and a task has `rounds` of calls. `imports` are functions of the
    user's own, as dotted names.
    """

    folders: list[FilePath] = []
    hosts: list[Annotated[str, AfterValidator(_host_pattern)]] = []
    largest: Size = 64 * 2**10
    rounds: PositiveInt = 6
    timeout: PositiveFloat = 20
    imports: list[str] = []
