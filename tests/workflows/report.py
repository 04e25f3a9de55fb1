"""One workflow that uses all there is, as a file and in Python."""

from __future__ import annotations

from workflows.error_handling import ErrorHandlingConfig, Fallback
from workflows.step import Approval, Compensation, Loop, WorkflowStep
from workflows.task import RetryPolicy
from workflows.triggers import WorkflowTrigger
from workflows.workflow import Workflow

REPORT = """\
name: market-report
description: Research a topic and write a reviewed report
inputs:
  topic: {type: string}
  depth: {type: integer, default: 3}
triggers:
  - cron: "0 7 * * mon"
    timezone: Europe/Berlin
    with: {topic: "electric bicycles"}
steps:
  - id: outline
    agent: planner
    prompt: "List {{ inputs.depth }} sections for a report on {{ inputs.topic }}."
    output: {type: array, items: {type: string}}
  - id: sections
    foreach: "{{ steps.outline.output }}"
    max_parallel: 4
    agent: writer
    prompt: "Write the section '{{ item }}'."
  - id: numbers
    needs: []
    task: myproject.tasks.fetch_numbers
    with: {topic: "{{ inputs.topic }}"}
    retry: {max: 3, backoff: exponential, on: [TimeoutError]}
    timeout: 2m
    on_error: {fallback: cached}
  - id: cached
    task: myproject.tasks.cached_numbers
    args: ["{{ failure.message }}"]
  - id: approval
    needs: [sections, numbers]
    approval: {question: "Publish?", options: [yes, no], timeout: 2d, on_timeout: reject}
  - id: publish
    when: "{{ steps.approval.output.approved }}"
    workflow: publish-report
    with: {text: "{{ steps.sections.output }}"}
    compensate: {task: myproject.tasks.unpublish, args: ["{{ steps.publish.output }}"]}
  - id: polish
    capabilities: [writing]
    prompt: "Make it better: {{ loop.previous }}"
    loop: {until: "{{ loop.index > 2 }}", max: 5}
    on_error: continue
  - id: apology
    run_on: failure
    agent: writer
    prompt: "Explain why the report on {{ inputs.topic }} failed: {{ failure.message }}"
error_handling: {strategy: compensate, notify: [ops]}
outputs: {report: "{{ steps.sections.output }}"}
"""

IN_PYTHON = Workflow(
    name="market-report",
    description="Research a topic and write a reviewed report",
    inputs={"topic": {"type": "string"}, "depth": {"type": "integer", "default": 3}},
    triggers=[
        WorkflowTrigger(
            cron="0 7 * * mon", timezone="Europe/Berlin", with_={"topic": "electric bicycles"}
        )
    ],
    steps=[
        WorkflowStep(
            id="outline",
            agent="planner",
            prompt="List {{ inputs.depth }} sections for a report on {{ inputs.topic }}.",
            output={"type": "array", "items": {"type": "string"}},
        ),
        WorkflowStep(
            id="sections",
            foreach="{{ steps.outline.output }}",
            max_parallel=4,
            agent="writer",
            prompt="Write the section '{{ item }}'.",
        ),
        WorkflowStep(
            id="numbers",
            needs=[],
            task="myproject.tasks.fetch_numbers",
            with_={"topic": "{{ inputs.topic }}"},
            retry=RetryPolicy(max=3, backoff="exponential", on=["TimeoutError"]),
            timeout=120,
            on_error=Fallback(fallback="cached"),
        ),
        WorkflowStep(
            id="cached", task="myproject.tasks.cached_numbers", args=["{{ failure.message }}"]
        ),
        WorkflowStep(
            id="approval",
            needs=["sections", "numbers"],
            approval=Approval(
                question="Publish?", options=["yes", "no"], timeout="2d", on_timeout="reject"
            ),
        ),
        WorkflowStep(
            id="publish",
            when="{{ steps.approval.output.approved }}",
            workflow="publish-report",
            with_={"text": "{{ steps.sections.output }}"},
            compensate=Compensation(
                task="myproject.tasks.unpublish", args=["{{ steps.publish.output }}"]
            ),
        ),
        WorkflowStep(
            id="polish",
            capabilities=["writing"],
            prompt="Make it better: {{ loop.previous }}",
            loop=Loop(until="{{ loop.index > 2 }}", max=5),
            on_error="continue",
        ),
        WorkflowStep(
            id="apology",
            run_on="failure",
            agent="writer",
            prompt="Explain why the report on {{ inputs.topic }} failed: {{ failure.message }}",
        ),
    ],
    error_handling=ErrorHandlingConfig(strategy="compensate", notify=["ops"]),
    outputs={"report": "{{ steps.sections.output }}"},
)
