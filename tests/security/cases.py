"""Who may do what under tests/security/policies.yaml: subject, action, resource, what the task asks for."""

from __future__ import annotations

from dataclasses import dataclass

from workflows.task import SecurityLevel

LEVELS = {level.value: level for level in SecurityLevel}


@dataclass(frozen=True)
class Case:
    allowed: bool
    subject: str
    action: str
    resource: str
    capabilities: tuple[str, ...] = ()
    level: SecurityLevel = SecurityLevel.INTERNAL


def _cases(allowed: bool, table: str) -> list[Case]:
    found = []
    for line in table.strip().splitlines():
        subject, action, resource, *rest = line.split()
        levels = [LEVELS[word] for word in rest if word in LEVELS]
        capabilities = tuple(word for word in rest if word not in LEVELS)
        level = levels[0] if levels else SecurityLevel.INTERNAL
        found.append(Case(allowed, subject, action, resource, capabilities, level))
    return found


CASES = _cases(
    True,
    """
    user:olga      task.submit      agent:planner
    user:olga      task.submit      agent:writer           secret
    user:olga      task.cancel      task:1
    user:olga      workflow.run     workflow:triage
    user:olga      token.change     token:ci
    user:olga      system.change    system:keys
    user:olga      budget.change    project:bees
    user:olga      project.change   project:bees
    user:ann       project.read     project:bees
    user:ann       workflow.run     workflow:triage
    user:ann       workflow.read    workflow:triage
    user:ann       workflow.change  workflow:triage
    user:ann       workflow.answer  workflow:triage
    user:ann       workflow.cancel  workflow:triage
    user:ann       task.submit      agent:writer
    user:ann       task.submit      agent:writer           public
    user:ann       task.submit      capability:research    research
    user:ann       task.submit      celery:chore.echo
    user:ann       task.read        task:1
    user:ann       system.read      system:status
    user:tim       task.submit      agent:writer           writing public
    user:tim       task.submit      capability:writing     writing public
    user:tim       task.submit      celery:chore.echo
    token:ci       workflow.run     workflow:triage
    token:ci       task.submit      agent:analyst
    token:watch-1  task.read        task:1
    token:watch-2  workflow.read    workflow:triage
    worker:gpu     task.run         agent:writer
    worker:gpu     task.run         agent:outside          secret
    agent:writer   task.run         task:1                 secret
    agent:outside  task.run         task:1                 internal
    agent:writer   tool.use         tool:read_file         secret
    agent:writer   tool.use         tool:http_get          public
    """,
) + _cases(
    False,
    """
    user:olga      workflow.run     workflow:forbidden-one
    user:ann       workflow.run     workflow:forbidden-two
    user:ann       task.submit      agent:planner
    user:ann       task.submit      agent:writer           confidential
    user:ann       task.submit      agent:writer           secret
    user:ann       workflow.run     workflow:triage        secret
    user:ann       task.cancel      task:1
    user:ann       task.retry       task:1
    user:ann       token.change     token:ci
    user:ann       system.change    system:keys
    user:ann       event.emit       event:ticket
    user:ann       budget.change    project:bees
    user:ann       project.change   project:bees
    user:bob       project.read     project:bees
    token:ci       project.read     project:bees
    user:tim       task.submit      agent:writer           writing
    user:tim       task.submit      agent:writer           public
    user:tim       task.submit      agent:writer           research public
    user:tim       task.submit      celery:own.kill
    user:tim       task.read        task:1
    user:tim       workflow.run     workflow:triage
    user:bob       task.submit      agent:writer
    user:bob       task.read        task:1
    user:          task.read        task:1
    user:olga2     task.submit      agent:writer
    xuser:olga     task.submit      agent:writer
    role:operator  task.submit      agent:writer
    token:ci       task.submit      agent:planner
    token:ci       task.read        task:1
    token:ci2      workflow.run     workflow:triage
    token:watch-1  task.submit      agent:writer
    token:watch-1  workflow.run     workflow:triage
    agent:outside  task.run         task:1                 confidential
    agent:outside  task.run         task:1                 secret
    agent:writer   tool.use         tool:http_get          internal
    agent:writer   task.submit      agent:writer
    worker:gpu     task.read        task:1
    """,
)
