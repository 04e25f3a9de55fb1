"""Workflows of every construct with what must come of them: with and without a kill in the middle."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from workflows.definitions import load
from workflows.workflow import Workflow


@dataclass(frozen=True)
class Case:
    """A workflow, its inputs, and how each step and the run must end."""

    steps: str
    expected: dict[str, str]
    """Status of each step; a skipped one with its reason."""
    outputs: dict[str, Any] = field(default_factory=dict)
    """Outputs of steps."""
    state: str = "succeeded"
    inputs: dict[str, Any] = field(default_factory=dict)
    more: str = ""
    """Other keys of the file."""

    def workflow(self, name: str) -> Workflow:
        """Return it under a name."""
        return load(f"name: {name}\n{self.more}\nsteps:\n{self.steps}", name)


ECHO = "task: chore.echo, args:"
FAIL = "task: chore.fail, args: [broken]"

CASES = {
    "chain": Case(
        f"""
  - {{id: one, {ECHO} [1]}}
  - {{id: two, {ECHO} ["{{{{ steps.one.output + 1 }}}}"]}}
  - {{id: three, {ECHO} ["{{{{ steps.one.output + steps.two.output }}}}"]}}
""",
        {"one": "success", "two": "success", "three": "success"},
        {"three": 3},
    ),
    "diamond": Case(
        f"""
  - {{id: top, {ECHO} [1]}}
  - {{id: left, needs: [top], {ECHO} ["{{{{ steps.top.output + 1 }}}}"]}}
  - {{id: right, needs: [top], {ECHO} ["{{{{ steps.top.output + 2 }}}}"]}}
  - {{id: join, needs: [left, right], {ECHO} ["{{{{ steps.left.output * steps.right.output }}}}"]}}
""",
        {"top": "success", "left": "success", "right": "success", "join": "success"},
        {"join": 6},
    ),
    "inputs": Case(
        f"""
  - {{id: greet, {ECHO} ["{{{{ inputs.word }}}}, {{{{ inputs.name }}}}"]}}
""",
        {"greet": "success"},
        {"greet": "hello, you"},
        inputs={"name": "you"},
        more="inputs: {name: {type: string}, word: {type: string, default: hello}}",
    ),
    "condition": Case(
        f"""
  - {{id: one, {ECHO} [1]}}
  - {{id: no, when: "{{{{ steps.one.output > 1 }}}}", {FAIL}}}
  - {{id: yes, when: "{{{{ steps.one.output == 1 }}}}", {ECHO} ["{{{{ steps.no.output }}}}"]}}
""",
        {"one": "success", "no": "skipped condition", "yes": "success"},
        {"yes": None},
    ),
    "foreach": Case(
        f"""
  - {{id: list, {ECHO} [[3, 1, 2]]}}
  - {{id: items, foreach: "{{{{ steps.list.output }}}}", {ECHO} ["{{{{ item * 10 + loop.index }}}}"]}}
  - {{id: sum, {ECHO} ["{{{{ steps.items.output | sum }}}}"]}}
""",
        {"list": "success", "items": "success", "sum": "success"},
        {"items": [31, 12, 23], "sum": 66},
    ),
    "foreach-nothing": Case(
        f"""
  - {{id: items, foreach: [], {FAIL}}}
  - {{id: after, {ECHO} ["{{{{ steps.items.output | length }}}}"]}}
""",
        {"items": "success", "after": "success"},
        {"items": [], "after": 0},
    ),
    "foreach-some": Case(
        f"""
  - {{id: items, foreach: [1, 2, 3, 4], when: "{{{{ item is odd }}}}", {ECHO} ["{{{{ item }}}}"]}}
""",
        {"items": "success"},
        {"items": [1, None, 3, None]},
    ),
    "foreach-narrow": Case(
        f"""
  - {{id: items, foreach: [1, 2, 3, 4, 5], max_parallel: 2, {ECHO} ["{{{{ item }}}}"]}}
""",
        {"items": "success"},
        {"items": [1, 2, 3, 4, 5]},
    ),
    "foreach-fails": Case(
        """
  - {id: items, foreach: [a, b], task: chore.fail, args: ["{{ item }}"], on_error: continue}
  - {id: after, task: chore.echo, args: ["{{ steps.items.output }}"]}
""",
        {"items": "error", "after": "success"},
        {"after": None},
    ),
    "loop": Case(
        f"""
  - id: double
    loop: {{until: "{{{{ loop.previous >= 8 }}}}", max: 9}}
    {ECHO} ["{{{{ (loop.previous or 1) * 2 }}}}"]
""".replace("task: chore.echo, args:", "task: chore.echo\n    args:"),
        {"double": "success"},
        {"double": 8},
    ),
    "loop-bound": Case(
        """
  - id: count
    loop: {until: false, max: 3}
    task: chore.echo
    args: ["{{ loop.index }}"]
""",
        {"count": "success"},
        {"count": 3},
    ),
    "loop-fails": Case(
        """
  - id: count
    loop: {until: false, max: 3}
    task: chore.fail
    args: ["round {{ loop.index }}"]
""",
        {"count": "error"},
        state="failed",
    ),
    "abort": Case(
        f"""
  - {{id: bad, {FAIL}}}
  - {{id: after, {ECHO} [1]}}
  - {{id: sorry, needs: [bad], run_on: failure, {ECHO} ["{{{{ failure.step }}}}: {{{{ failure.message }}}}"]}}
  - {{id: always, needs: [after], run_on: always, {ECHO} [2]}}
""",
        {"bad": "error", "after": "skipped failure", "sorry": "success", "always": "success"},
        {"sorry": "bad: broken", "always": 2},
        state="failed",
    ),
    "continue-step": Case(
        f"""
  - {{id: bad, {FAIL}, on_error: continue}}
  - {{id: after, {ECHO} ["{{{{ steps.bad.output }}}} {{{{ steps.bad.error }}}}"]}}
""",
        {"bad": "error", "after": "success"},
        {"after": "null broken"},
    ),
    "fallback": Case(
        f"""
  - {{id: bad, {FAIL}, on_error: {{fallback: spare}}}}
  - {{id: spare, {ECHO} ["instead of {{{{ failure.step }}}}"]}}
  - {{id: after, needs: [bad], {ECHO} ["{{{{ steps.bad.output }}}}"]}}
""",
        {"bad": "error", "spare": "success", "after": "success"},
        {"after": "instead of bad"},
    ),
    "fallback-unused": Case(
        f"""
  - {{id: good, {ECHO} [1], on_error: {{fallback: spare}}}}
  - {{id: spare, {FAIL}}}
  - {{id: after, needs: [good], {ECHO} ["{{{{ steps.good.output }}}}"]}}
""",
        {"good": "success", "spare": "skipped unused", "after": "success"},
        {"after": 1},
    ),
    "fallback-fails": Case(
        f"""
  - {{id: bad, {FAIL}, on_error: {{fallback: spare}}}}
  - {{id: spare, {FAIL}}}
  - {{id: after, needs: [bad], {ECHO} [1]}}
""",
        {"bad": "error", "spare": "error", "after": "skipped failure"},
        state="failed",
    ),
    "continue-run": Case(
        f"""
  - {{id: bad, {FAIL}}}
  - {{id: after, {ECHO} [1]}}
  - {{id: other, needs: [], {ECHO} [1]}}
  - {{id: more, needs: [other], {ECHO} [2]}}
""",
        {"bad": "error", "after": "skipped failure", "other": "success", "more": "success"},
        {"more": 2},
        state="failed",
        more="error_handling: {strategy: continue}",
    ),
    "compensate": Case(
        f"""
  - id: one
    task: chore.echo
    args: [1]
    compensate: {{task: own.note, args: ["{{{{ inputs.file }}}}", "one {{{{ steps.one.output }}}}"]}}
  - id: two
    task: chore.echo
    args: [2]
    compensate: {{task: own.note, args: ["{{{{ inputs.file }}}}", "two"]}}
  - {{id: bad, {FAIL}, compensate: {{task: own.note, args: ["{{{{ inputs.file }}}}", "bad"]}}}}
""",
        {"one": "success", "two": "success", "bad": "error"},
        state="failed",
        more="error_handling: {strategy: compensate}\ninputs: {file: {type: string}}",
    ),
    "retry": Case(
        """
  - {id: third, task: own.third_time}
""",
        {"third": "success"},
        {"third": 2},
    ),
    "retries": Case(
        """
  - id: bad
    task: chore.fail
    args: [broken]
    retry: {max: 2, seconds: 0.05}
    on_error: continue
  - {id: after, task: chore.echo, args: ["{{ steps.bad.error }}"]}
""",
        {"bad": "error", "after": "success"},
        {"after": "broken"},
    ),
    "timeout": Case(
        """
  - {id: slow, task: chore.sleep, args: [30], timeout: 1s, on_error: continue}
  - {id: after, task: chore.echo, args: ["{{ steps.slow.status }}"]}
""",
        {"slow": "error", "after": "success"},
        {"after": "error"},
    ),
    "output": Case(
        """
  - {id: fits, task: chore.echo, args: [[a]], output: {items: {type: string}}}
  - {id: not, task: chore.echo, args: [[5]], output: {items: {type: string}}, on_error: continue}
  - {id: after, task: chore.echo, args: ["{{ steps.not.output }}"]}
""",
        {"fits": "success", "not": "error", "after": "success"},
        {"fits": ["a"], "after": None},
    ),
    "bad-expression": Case(
        f"""
  - {{id: one, {ECHO} [1]}}
  - {{id: two, {ECHO} ["{{{{ steps.one.output.nothing }}}}"], on_error: continue}}
""",
        {"one": "success", "two": "error"},
    ),
    "inside": Case(
        f"""
  - {{id: call, workflow: inner, with: {{value: 4}}}}
  - {{id: after, {ECHO} ["{{{{ steps.call.output.answer }}}}"]}}
""",
        {"call": "success", "after": "success"},
        {"call": {"answer": 8}, "after": 8},
    ),
    "inside-fails": Case(
        f"""
  - {{id: call, workflow: inner, with: {{value: 0}}, on_error: continue}}
  - {{id: after, {ECHO} ["{{{{ steps.call.error }}}}"]}}
""",
        {"call": "error", "after": "success"},
        {"after": "step 'check' failed: not so small"},
    ),
    "inside-each": Case(
        """
  - {id: calls, foreach: [1, 2], workflow: inner, with: {value: "{{ item }}"}}
""",
        {"calls": "success"},
        {"calls": [{"answer": 2}, {"answer": 4}]},
    ),
}

INNER = Case(
    """
  - {id: double, task: chore.echo, args: ["{{ inputs.value * 2 }}"]}
  - {id: check, when: "{{ steps.double.output == 0 }}", task: chore.fail, args: [not so small]}
""",
    {},
    more='inputs: {value: {type: integer}}\noutputs: {answer: "{{ steps.double.output }}"}',
)
