"""The Celery app, made from the settings; and the stores that belong to it.

``celery -A celery_app worker|beat|flower|inspect`` find it here. Importing this module starts nothing
and connects to nothing.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

import click
from celery import signals
from celery.worker.control import inspect_command
from click.core import ParameterSource

from agents.profile import AgentProfile, AgentType
from celery_app.broker import App
from celery_app.codec import SEALED
from celery_app.errors import ConfigurationError
from celery_app.flower_door import attend
from celery_app.flower_link import lead_back
from celery_app.postgres.bootstep import ResultBackendStep
from celery_app.postgres.connection import Database
from celery_app.postgres.migrate import migrate
from celery_app.queues import DEFAULT_QUEUE, PRIORITY_STEPS, PriorityQueue, all_queues
from celery_app.redaction import Address, guard_logs
from celery_app.security.guard import Guard, Subject, local_user
from celery_app.security.keys import KeyRing
from celery_app.security.policy import Policy
from celery_app.security.vault import Vault
from celery_app.settings import SystemSettings
from celery_app.stack.profile import current_settings, ensure_stack, is_embedded
from celery_app.store.access import AccessStore
from celery_app.store.approvals import ApprovalStore
from celery_app.store.artifacts import ArtifactStore
from celery_app.store.documents import DocumentStorage
from celery_app.store.execution import ExecutionStore
from celery_app.store.graphs import GraphStore
from celery_app.store.logs import LogStore
from celery_app.store.projects import ProjectStore
from celery_app.store.runs import RunStore
from celery_app.store.tasks import TaskStore
from celery_app.store.triggers import TriggerStore
from celery_app.tracing import Tracing
from workflows.task import Task

if TYPE_CHECKING:
    from agents.agent_manager import AgentManager
    from agents.tools.catalogue import ToolCatalogue

#: Celery task modules of this package; a user's own come from `imports:` in system.yaml.
INCLUDE = (
    "celery_app.worker.work",
    "celery_app.worker.steps",
    "celery_app.worker.goals",
    "celery_app.worker.documents",
    "celery_app.worker.chores",
    "celery_app.worker.gate",
    "celery_app.worker.memory",
    "celery_app.worker.ending",
    "celery_app.observe.sampling",
    "celery_app.orchestrator.recovery",
    "celery_app.observe.log_setup",
    "celery_app.observe.jobs",
    "celery_app.orchestrator.journal_reader",
)


def celery_options(settings: SystemSettings) -> dict[str, Any]:
    """Return Celery's configuration; the reasons stand beside what is not a default."""
    return {
        "broker_url": Address(settings.broker_url),
        "result_backend": Address(f"agentpg+{settings.database_url}"),
        "include": [*INCLUDE, *settings.imports],
        "task_default_queue": DEFAULT_QUEUE,
        "task_queues": all_queues(AgentType),
        "task_create_missing_queues": True,
        # A message is gone only when its task is over, or its worker is.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "worker_concurrency": settings.worker.concurrency,
        "worker_consumer": "celery_app.worker.consumer:Consumer",
        # What runs counts for the limit already, since it is attached to the new connection.
        "worker_enable_prefetch_count_reduction": False,
        "broker_transport_options": {
            "visibility_timeout": settings.worker.visibility_timeout,
            # kombu's own sweep takes 100 s to bring back what a dead worker held.
            "unacked_restore_interval": min(5.0, settings.worker.visibility_timeout / 4),
            "unacked_restore_throttle": 1,
            "health_check_interval": 10,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "global_keyprefix": f"{settings.system.name}:",
            "priority_steps": PRIORITY_STEPS,
            # Our own: see worker.channel.
            "recovery": settings.recovery.enabled,
        },
        # Nested canvases of users deadlock on a small pool.
        "broker_pool_limit": 64,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
        "task_publish_retry_policy": {"max_retries": 3, "interval_max": 1},
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_soft_shutdown_timeout": settings.worker.soft_shutdown_timeout,
        # It waits in vain: what is delayed is delayed in Postgres.
        "worker_enable_soft_shutdown_on_idle": False,
        "beat_scheduler": "celery_app.orchestrator.beat:TriggerScheduler",
        "beat_schedule": {
            "system.metrics": {
                "task": "system.metrics",
                "schedule": settings.monitoring.metrics.interval,
                # One that comes late would find the sample of its interval taken.
                "options": {"expires": settings.monitoring.metrics.interval},
            },
        },
        "worker_hijack_root_logger": False,
        "worker_send_task_events": True,
        "result_extended": True,
        "accept_content": ["json", SEALED],
        "task_annotations": {"*": {"Request": "celery_app.codec:ClosedRequest"}},
        "result_backend_transport_options": {
            "publish_interval": settings.recovery.interval,
            "publish_grace": settings.recovery.grace,
        },
        "task_track_started": False,
        "timezone": "UTC",
        "enable_utc": True,
    }


if click.get_current_context(silent=True) is not None:
    # A process of ours: `celery -A celery_app ...`. Somebody else's program logs as it likes.
    guard_logs()

settings = current_settings()
_encryption = settings.security.encryption
vault = Vault(KeyRing(_encryption.key_path), sealing=_encryption.enabled)
database = Database(settings.database_url, vault)
store = TaskStore(database)
graphs = GraphStore(database)
executions = ExecutionStore(database)
runs = RunStore(database)
approvals = ApprovalStore(database)
triggers = TriggerStore(database)
access = AccessStore(database)
logs = LogStore(database, settings.monitoring.logging.store.buffer)
projects = ProjectStore(database)
documents = DocumentStorage(database)
artifacts = ArtifactStore(
    database, settings.artifacts.folder, settings.artifacts.inline, settings.artifacts.largest
)
tracing = Tracing(settings.monitoring.tracing, settings.system)

app = App(
    settings.system.name,
    vault=vault,
    task_cls="celery_app.worker.base_task:AgentTask",
    set_as_current=True,
)
app.conf.update(celery_options(settings))
app.steps["worker"].add(ResultBackendStep)

queue = PriorityQueue(app)


@functools.cache
def agent_manager() -> AgentManager:
    """Return the roster of agents, read once."""
    # Here, and not above: whoever only hands in work does not pay for the client of Ollama.
    from agents.agent_manager import AgentManager

    return AgentManager.load(settings.agents_file, tool_catalogue().names)


@functools.cache
def tool_catalogue() -> ToolCatalogue:
    """Return the tools of agents, as the settings allow them.

    Raises:
        InvalidTool: Two of them have one name, or a name in the settings is none.
    """
    from celery_app.tool_settings import catalogue_of

    return catalogue_of(settings.tools)


def choose_agent(task: Task) -> AgentProfile:
    """Return the agent that is to perform a task."""
    return agent_manager().choose(task).profile


@functools.cache
def policy() -> Policy:
    """Return who may do what, read once.

    Raises:
        ConfigurationError: The policy file is wrong.
    """
    permissions = settings.security.permissions
    if is_embedded() and not permissions.policy_file.is_file():
        return Policy.of_owner(local_user())
    return Policy.load(permissions.policy_file, permissions.default_policy)


def guard(token: str | None = None) -> Guard:
    """Return the guard for whoever holds a token, or else for the user of this process.

    Without a token the one of the environment counts (``AI_AGENT_TOKEN``), if there is one.
    """
    token = token or os.environ.get("AI_AGENT_TOKEN")
    return Guard(access.holder(token), policy(), access.record) if token else guard_of_user()


def guard_of_user() -> Guard:
    """Return the guard for the user of this process, whatever token there is."""
    return guard_of(local_user())


def guard_of(subject: str) -> Guard:
    """Return the guard for a worker, an agent, or a user of this machine."""
    return Guard(lambda: Subject(subject), policy(), access.record)


def task_names() -> list[str]:
    """Return the wire names of all registered tasks, the user's own included.

    Raises:
        ConfigurationError: A module of `imports` cannot be imported.
    """
    _import_modules()
    return [name for name in app.tasks if not name.startswith("celery.")]


@functools.cache
def _import_modules() -> None:
    try:
        app.loader.import_default_modules()
    except ImportError as error:
        raise ConfigurationError(
            f"a module of `imports` cannot be imported: {error}; correct imports or PYTHONPATH"
        ) from error


def prepare() -> None:
    """Make ready what the app needs: the embedded servers, if it uses them, and the tables.

    Raises:
        ServiceUnavailable: A configured server does not answer.
    """
    ensure_stack()
    migrate(database.impatient())


@signals.celeryd_init.connect
@signals.beat_init.connect
def _on_process_start(**_: Any) -> None:
    prepare()


@signals.worker_init.connect
def _choose_pool(sender: Any, **_: Any) -> None:
    """Use the configured pool, unless the command line names one.

    Not by `worker_pool`: Celery takes that for a word against ``-P prefork``.
    """
    context = click.get_current_context(silent=True)
    if context is not None and context.get_parameter_source("pool") is ParameterSource.DEFAULT:
        sender.pool_cls = settings.worker.pool


@signals.import_modules.connect
def _attend_flower(**_: Any) -> None:
    """Close the door of Flower, which asks for our modules once it has read its options."""
    context = click.get_current_context(silent=True)
    if context is not None and context.info_name == "flower":
        from flower.options import options

        attend(options, settings.monitoring.flower)


lead_back(settings.api)


# Here, since whoever asks for it has to know it as well.
@inspect_command()
def models(state: Any) -> dict[str, Any]:
    """Model servers: who answers, what is loaded, whether the queues of agents are served."""
    report: dict[str, Any] = state.consumer.gate.report()
    return report
