"""`SystemSettings`: config/system.yaml as typed values.

Invariant: what is not understood is refused with the place where it was written, and no secret is
part of a settings object's text: passwords come from files, and only the URLs made of them show
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from celery_app import urls
from celery_app.api_section import Api
from celery_app.errors import ConfigurationError
from celery_app.monitoring_settings import Monitoring
from celery_app.refusals import refusal
from celery_app.sections import (
    Artifacts,
    Components,
    FilePath,
    Leases,
    Limit,
    Protected,
    Recovery,
    Resources,
    Section,
    Security,
    System,
    Tools,
    Worker,
)
from celery_app.sources import Source

LimitedName = Annotated[str, Field(pattern=r"^(model|agent|project|key):.+$")]

__all__ = ["SystemSettings", "load_settings", "make_settings"]


class SystemSettings(Section):
    """All settings. `imports` names the user's modules with Celery tasks.

    `limits` hold across all workers, for `model:NAME`, `agent:NAME`, `project:NAME` or `key:NAME` (a
    concurrency key); a name may end with `*`. `workflows_dir` holds the workflow files; by default that is
    config/workflows, seen from where a command runs, or else from where this system was checked out.
    `webhooks` are those who may call, by name.
    """

    system: System = System()
    components: Components = Components()
    security: Security = Security()
    monitoring: Monitoring = Monitoring()
    resources: Resources = Resources()
    limits: dict[LimitedName, Limit] = Field(default={})
    imports: list[str] = Field(default=[])
    worker: Worker = Worker()
    leases: Leases = Leases()
    recovery: Recovery = Recovery()
    tools: Tools = Tools()
    artifacts: Artifacts = Artifacts()
    api: Api = Api()
    agents_file: FilePath | None = None
    workflows_dir: FilePath | None = None
    webhooks: dict[str, Protected] = Field(default={})

    @property
    def database_url(self) -> str:
        """The database for SQLAlchemy, password included."""
        database = self.components.database
        login = (database.user, database.secret)
        return urls.database_url(*login, database.host, database.port, database.name)

    @property
    def broker_url(self) -> str:
        """The message bus for kombu, password included."""
        bus = self.components.message_bus
        if bus.unix_socket is not None:
            return urls.socket_url(bus.secret, bus.unix_socket, bus.db)
        return urls.redis_url(bus.secret, bus.host, bus.port, bus.db)

    @property
    def ollama_hosts(self) -> list[str]:
        """The URLs of the model servers."""
        return self.components.ollama.urls

    def shown(self) -> dict[str, Any]:
        """Return all values as JSON can hold them, without any secret."""
        return self.model_dump(mode="json")


def load_settings(
    folder: Path, environ: Mapping[str, str], *, check_files: bool = True
) -> SystemSettings:
    """Read `system.yaml` in a folder, under the overrides of the environment.

    Relative paths in it are meant from that folder. With `check_files` the keys and the policy
    must be there; the command that makes them reads the settings without.
    Raises ConfigurationError.
    """
    path = folder / "system.yaml"
    if not path.is_file():
        raise ConfigurationError(
            f"{path} does not exist: copy config/system.yaml there,"
            " or unset CONFIG_PATH to use the embedded servers"
        )
    source = Source.read(path)
    source.override(environ)
    settings = make_settings(source, folder)
    if check_files:
        _check_files(settings)
    return settings


def make_settings(source: Source, folder: Path) -> SystemSettings:
    """Check the values and return them typed; relative paths are meant from `folder`."""
    try:
        return SystemSettings.model_validate(source.values, context={"folder": folder.absolute()})
    except ValidationError as error:
        raise refusal(error, SystemSettings, source) from error


def _check_files(settings: SystemSettings) -> None:
    encryption = settings.security.encryption
    if encryption.enabled and not (encryption.key_path / "current").is_file():
        raise ConfigurationError(
            f"there is no key in security.encryption.key_path {encryption.key_path}: "
            "`ai-agent keys create` makes one"
        )
    policy = settings.security.permissions.policy_file
    if not policy.is_file():
        raise ConfigurationError(
            f"security.permissions.policy_file {policy} does not exist:"
            " copy config/policies.yaml there"
        )
    agents = settings.agents_file
    if agents is not None and not agents.is_file():
        raise ConfigurationError(f"agents_file {agents} does not exist: copy config/agents.yaml")
