"""The policy alone: every case of the table, and what holds for any rules."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import celery_app
from celery_app import celery
from celery_app.cli.main import cli
from celery_app.errors import ConfigurationError
from celery_app.security.policy import (
    ACTIONS,
    RESOURCES,
    Policy,
    PolicyFile,
    Request,
    Rule,
    request,
)
from tests.security.cases import CASES, Case
from workflows.task import SecurityLevel

POLICIES = Path(__file__).with_name("policies.yaml")
POLICY = Policy.load(POLICIES)
SHIPPED = Policy.load(Path(celery_app.__path__[0]).parent / "config" / "policies.yaml")


def test_the_table_is_large_and_half_of_it_denied() -> None:
    denied = sum(not case.allowed for case in CASES)
    assert len(CASES) >= 60
    assert denied >= len(CASES) // 2


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_policy_decides(case: Case) -> None:
    wanted = request(case.action, case.resource, case.capabilities, case.level)
    decision = POLICY.decide(case.subject, wanted)
    assert decision.allowed is case.allowed, decision.why


@pytest.mark.parametrize("action", ACTIONS)
def test_the_shipped_policy_lets_nobody_in_who_has_no_role(action: str) -> None:
    for resource in RESOURCES:
        for subject in ("user:nobody", "token:nobody"):
            assert not SHIPPED.decide(subject, request(action, f"{resource}:x")).allowed


def test_explain_says_the_same_in_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery, "policy", lambda: POLICY)
    for case in CASES:
        asked = [case.subject, case.action, case.resource, "--level", str(case.level)]
        for capability in case.capabilities:
            asked += ["--capability", capability]
        done = CliRunner().invoke(cli, ["policy", "explain", *asked])
        assert done.exit_code == (0 if case.allowed else 3), (case, done.output)
        assert done.output.splitlines()[-1].startswith("allowed" if case.allowed else "denied")


def test_explain_names_the_rule_and_those_before_it() -> None:
    decision = POLICY.decide("user:ann", request("task.submit", "agent:planner"))
    assert decision.rule is not None
    assert decision.rule.startswith(f"{POLICIES}:")
    number = int(decision.rule.rpartition(":")[2])
    assert "role:author" in POLICIES.read_text().splitlines()[number - 1]
    assert "agent:planner" in POLICIES.read_text().splitlines()[number - 1]


def test_without_a_file_only_the_owner_acts() -> None:
    policy = Policy.of_owner("user:me")
    everything = [request(action, f"{kind}:x") for action in ACTIONS for kind in RESOURCES]
    assert all(policy.decide("user:me", each).allowed for each in everything)
    assert not any(policy.decide("user:you", each).allowed for each in everything)
    assert not any(policy.decide("token:ci", each).allowed for each in everything)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rules: [{effect: allow, who: ['user:a'], may: [task.sumbit]}]",
         "policies.yaml:1: there is no action 'task.sumbit': did you mean task.submit?"),
        ("roles: {user: x}\nrules:\n  - effect: allow\n    who: ['role:usr']\n    may: ['*']",
         "policies.yaml:4: there is no role 'usr': did you mean user?"),
        ("rules: [{effect: allow, who: ['user:a'], may: ['*'], resources: ['agnet:x']}]",
         "there is no resource 'agnet': did you mean agent?"),
        ("rules: [{effect: deny, who: ['usr:ann'], may: ['*']}]",
         "policies.yaml:1: 'usr:ann' is nobody: write KIND:NAME: did you mean user?"),
        ("rules: [{effect: deny, who: [ann], may: ['*']}]", "'ann' is nobody: write KIND:NAME"),
        ("roles: {r: x}\nsubjects:\n  'usr:ann': [r]", "policies.yaml:3: 'usr:ann' is nobody"),
        ("subjects: {'user:ann': [boss]}", "user:ann has the role 'boss': known are none"),
        ("rules: [{effect: maybe, who: ['*'], may: ['*']}]", "policies.yaml:1: rules.0.effect is 'maybe'"),
        ("rules: [{effect: allow, may: ['*']}]", "rules.0.who"),
        ("rules: [{effect: allow, who: [], may: ['*']}]", "rules.0.who"),
        ("rules: [{effect: allow, who: ['user:a'], may: ['*'], when: {levle_to: secret}}]", "levle_to"),
        ("version: 2", "version is 2"),
        ("- one", "keys are expected here"),
        ("rules: [", "this is not YAML"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "policies.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        Policy.load(path)
    assert told in str(caught.value)
    done = CliRunner().invoke(cli, ["policy", "check", str(path)])
    assert done.exit_code == 2


def test_the_shipped_policy_is_right_and_denies_strangers() -> None:
    policy = Policy.load(Path(__file__).parents[2] / "config" / "policies.yaml")
    assert policy.decide("user:ai-agent", request("task.submit", "agent:planner")).allowed
    assert not policy.decide("user:ann", request("task.submit", "agent:planner")).allowed
    # Without that a planned step of a triggered run would have no agents to choose from.
    assert policy.decide("trigger:market-report", request("task.submit", "agent:writer")).allowed
    assert not policy.decide("trigger:market-report", request("token.change", "token:x")).allowed


@pytest.mark.parametrize(
    ("action", "resource"), [("task.eat", "task:1"), ("task.read", "1"), ("task.read", "fish:1")]
)
def test_what_does_not_exist_is_not_asked_for(action: str, resource: str) -> None:
    with pytest.raises(ConfigurationError):
        request(action, resource)


PATTERN = st.sampled_from(["*", "task.*", "task.read", "*.read", "workflow.run"])
WHO = st.sampled_from(["*", "user:*", "user:ann", "token:*", "role:r"])
ON = st.sampled_from(["*", "agent:*", "agent:writer", "task:*"])
RULE = st.builds(
    Rule,
    effect=st.sampled_from(["allow", "deny"]),
    who=st.lists(WHO, min_size=1, max_size=2),
    may=st.lists(PATTERN, min_size=1, max_size=2),
    resources=st.lists(ON, min_size=1, max_size=2),
)
ASKED = st.builds(
    Request,
    action=st.sampled_from(sorted(ACTIONS)),
    resource=st.sampled_from(["agent:writer", "agent:x", "task:1", "workflow:w"]),
    capabilities=st.frozensets(st.sampled_from(["writing", "research"])),
    level=st.sampled_from(list(SecurityLevel)),
)
SUBJECT = st.sampled_from(["user:ann", "user:bob", "token:ci", "worker:w"])


def made_of(rules: list[Rule]) -> Policy:
    file = PolicyFile(roles={"r": ""}, subjects={"user:ann": ["r"]}, rules=rules)
    return Policy(file, [str(number) for number in range(len(rules))])


@given(rules=st.lists(RULE, max_size=6), rule=RULE, subject=SUBJECT, asked=ASKED)
def test_a_deny_on_top_never_allows_more(
    rules: list[Rule], rule: Rule, subject: str, asked: Request
) -> None:
    deny = rule.model_copy(update={"effect": "deny"})
    if made_of([deny, *rules]).decide(subject, asked).allowed:
        assert made_of(rules).decide(subject, asked).allowed


@given(rules=st.lists(RULE, max_size=6), rule=RULE, subject=SUBJECT, asked=ASKED)
def test_rules_below_the_one_that_decides_change_nothing(
    rules: list[Rule], rule: Rule, subject: str, asked: Request
) -> None:
    decision = made_of(rules).decide(subject, asked)
    if decision.rule is not None:
        assert made_of([*rules, rule]).decide(subject, asked) == decision
    else:
        assert not decision.allowed
