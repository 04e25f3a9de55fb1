"""Every metric that Prometheus is given: its name, its kind, its labels, what it means, and its values.

This is the one list of them: docs/metrics.md, the dashboard and the alert rules are checked against it.
"""

from __future__ import annotations

from celery_app.observe import family as take
from celery_app.observe.family import Family
from celery_app.store.figures import CALL_BOUNDS, DURATION_BOUNDS, WAIT_BOUNDS

__all__ = ["FAMILIES"]

FAMILIES = (
    Family("ai_agent_info", "gauge", ("name", "version"), "Always 1: who is measured.", take.info),
    Family(
        "ai_agent_workers", "gauge", (), "Worker processes that hold live leases.",
        take.single(lambda batch: batch.system.workers),
    ),
    Family(
        "ai_agent_leases_live", "gauge", (), "Tasks that run under a live lease.",
        take.single(lambda batch: batch.system.live_leases),
    ),
    Family(
        "ai_agent_leases_expired", "gauge", (),
        "Tasks whose worker gave no sign in time and that recovery has not put back yet.",
        take.single(lambda batch: batch.system.expired_leases),
    ),
    Family(
        "ai_agent_approvals_open", "gauge", (), "Questions of workflows that nobody has answered yet.",
        take.single(lambda batch: batch.system.open_approvals),
    ),
    Family(
        "ai_agent_budget_waits", "gauge", (), "Tasks that wait until a budget is given more.",
        take.single(lambda batch: batch.system.budget_waits),
    ),
    Family(
        "ai_agent_database_bytes", "gauge", (), "Size of the database in bytes.",
        take.single(lambda batch: batch.system.database_bytes),
    ),
    Family(
        "ai_agent_active_agents", "gauge", (), "Agents that hold live leases.",
        take.single(lambda batch: batch.agents.active_agents),
    ),
    Family(
        "ai_agent_task_completion_rate", "gauge", (),
        "Share of the tasks that were carried through (succeeded, failed or cancelled) that succeeded.",
        take.single(lambda batch: batch.agents.task_completion_rate),
    ),
    Family(
        "ai_agent_average_response_seconds", "gauge", (),
        "Seconds that an attempt at a task takes on average.",
        take.single(lambda batch: batch.agents.average_response_time),
    ),
    Family(
        "ai_agent_error_rate", "gauge", (),
        "Share of the tasks that were carried through that failed.",
        take.single(lambda batch: batch.agents.error_rate),
    ),
    Family(
        "ai_agent_agent_active", "gauge", ("agent",), "1 while the agent holds a live lease, else 0.",
        take.by_agent(lambda agent: agent.active_agents),
    ),
    Family(
        "ai_agent_agent_completion_rate", "gauge", ("agent",),
        "As ai_agent_task_completion_rate, of one agent's tasks.",
        take.by_agent(lambda agent: agent.task_completion_rate),
    ),
    Family(
        "ai_agent_agent_average_response_seconds", "gauge", ("agent",),
        "As ai_agent_average_response_seconds, of one agent.",
        take.by_agent(lambda agent: agent.average_response_time),
    ),
    Family(
        "ai_agent_agent_error_rate", "gauge", ("agent",), "As ai_agent_error_rate, of one agent's tasks.",
        take.by_agent(lambda agent: agent.error_rate),
    ),
    Family(
        "ai_agent_agent_leases", "gauge", ("agent",), "Tasks that the agent performs under a live lease.",
        take.lease_counts,
    ),
    Family(
        "ai_agent_tasks", "gauge", ("agent", "state"),
        "Tasks by their present state; agent is empty for those that no agent performs.", take.task_counts,
    ),
    Family(
        "ai_agent_tasks_at_risk", "gauge", (), "Unfinished tasks that are expected to miss their deadline.",
        take.single(lambda batch: batch.tasks.at_risk),
    ),
    Family(
        "ai_agent_tasks_overdue", "gauge", (), "Unfinished tasks whose deadline has passed.",
        take.single(lambda batch: batch.tasks.overdue),
    ),
    Family(
        "ai_agent_attempts_total", "counter", ("agent", "outcome"),
        "Attempts that ended: succeeded, failed, cancelled, skipped, expanded (into subtasks), retried, "
        "returned (no try was counted), lost (its worker vanished), waiting (for a budget).",
        take.attempt_counts,
    ),
    Family(
        "ai_agent_attempt_duration_seconds", "histogram", ("agent",),
        "Seconds from the claim of an attempt to its end.",
        take.spreads_by("agent", lambda figures: figures.durations), DURATION_BOUNDS,
    ),
    Family(
        "ai_agent_queue_wait_seconds", "histogram", ("queue",),
        "Seconds from the moment at which a task could run to its claim.",
        take.spreads_by("queue", lambda figures: figures.waits), WAIT_BOUNDS,
    ),
    Family(
        "ai_agent_queue_tasks", "gauge", ("queue", "state"), "Tasks that wait for their claim, or run.",
        take.queue_tasks,
    ),
    Family(
        "ai_agent_queue_oldest_seconds", "gauge", ("queue",),
        "Seconds for which the oldest task of the queue has been waiting.", take.oldest_waits,
    ),
    Family(
        "ai_agent_model_calls_total", "counter", ("model", "host"), "Calls that a model answered.",
        take.call_counts,
    ),
    Family(
        "ai_agent_model_call_seconds", "histogram", ("model",),
        "Seconds of a call, from asking to the end of the answer.", take.call_durations, CALL_BOUNDS,
    ),
    Family(
        "ai_agent_model_tokens_total", "counter", ("model", "host", "kind"),
        "Tokens that were read (prompt) and written (generated).", take.token_counts,
    ),
    Family(
        "ai_agent_model_seconds_total", "counter", ("model", "host", "phase"),
        "Seconds that the server says it took to load the model, to read prompts and to generate.",
        take.server_seconds,
    ),
    Family(
        "ai_agent_model_tokens_per_second", "gauge", ("model", "kind"),
        "Tokens read and written in a second of the server's own time, over all calls.", take.speeds,
    ),
    Family(
        "ai_agent_model_cold_starts_total", "counter", ("model", "host"),
        "Calls for which the server had to load the model (half a second or more).", take.cold_starts,
    ),
    Family(
        "ai_agent_model_queue_wait_seconds", "histogram", ("model",),
        "As ai_agent_queue_wait_seconds, by the model of the task's agent.",
        take.spreads_by("model", lambda figures: figures.waits), WAIT_BOUNDS,
    ),
    Family(
        "ai_agent_model_answers_total", "counter", ("model", "path"),
        "How questions for a value came out: direct, extracted (from among words), repaired (asked again), "
        "failed.", take.counted(lambda model: model.answers),
    ),
    Family(
        "ai_agent_model_repair_rate", "gauge", ("model",),
        "Share of the questions for a value that had to be asked again to be read.",
        take.by_model(lambda model: model.repair_rate),
    ),
    Family(
        "ai_agent_model_refusals_total", "counter", ("model", "reason"),
        "What was refused rather than cut: texts that do not fit (overflow), answers without an end (cut).",
        take.counted(lambda model: model.refusals),
    ),
    Family(
        "ai_agent_model_demand_seconds_total", "counter", ("model",),
        "Seconds in which a call of the model was under way or a task waited for it.",
        take.by_model(lambda model: model.demand_seconds),
    ),
    Family(
        "ai_agent_model_idle_seconds_total", "counter", ("model",),
        "Seconds of these in which a task waited and no call was under way.",
        take.by_model(lambda model: model.idle_seconds),
    ),
    Family(
        "ai_agent_quota_taken", "gauge", ("quota",),
        "What is taken of a limit on processors, memory (bytes), a model or an agent.",
        take.limits(taken=True),
    ),
    Family(
        "ai_agent_quota_capacity", "gauge", ("quota",), "What may be taken of it.",
        take.limits(taken=False),
    ),
)  # fmt: skip
