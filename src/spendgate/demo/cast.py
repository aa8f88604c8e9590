"""Who is in the crowd, and the policy they live under; the same for the same number of agents."""

import random
from dataclasses import dataclass
from enum import StrEnum

from spendgate.demo.traffic import Payer

SONNET = "databricks-claude-sonnet-4-5"
HAIKU = "databricks-claude-haiku-4-5"
OSS_20B = "databricks-gpt-oss-20b"
OSS_120B = "databricks-gpt-oss-120b"
LLAMA = "databricks-meta-llama-3-3-70b-instruct"
GPT_5_MINI = "databricks-gpt-5-mini"
GTE = "databricks-gte-large-en"
UNPRICED = "model-nobody-priced"

ORG = "acme"
RESEARCH = "research"
BURST_AGENT = "nightly-batch"
BURST_USD = "0.20"
AGENTS_MIN = 8
_TEAMS = ("support", "platform", "data")
_RUNAWAYS_MIN = 3


class Kind(StrEnum):
    """How an agent behaves."""

    STEADY = "steady"
    RESEARCHER = "researcher"
    RUNAWAY = "runaway"
    STRANGER = "stranger"


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent of the crowd; a runaway loops on several threads."""

    name: str
    kind: Kind
    team: str
    user: str
    loops: int = 1

    def payer(self, draw: random.Random) -> Payer:
        """Draw who pays for one call: this agent, one of its sessions and its tasks."""
        session = draw.randrange(4)
        scopes = {
            "org": ORG,
            "team": self.team,
            "agent": self.name,
            "user": self.user,
            "session": f"{self.name}-s{session}",
        }
        if draw.random() < 0.7:
            scopes["task"] = f"{self.name}-s{session}-t{draw.randrange(3)}"
        tags = {"cost_center": str(4711 + draw.randrange(3))} if draw.random() < 0.6 else {}
        return Payer(scopes, tags)


def make_crowd(count: int) -> list[Agent]:
    """Make a crowd: a quarter researchers, some runaways, one stranger, and steady workers."""
    researchers = max(2, count // 4)
    runaways = max(_RUNAWAYS_MIN, count // 9)
    kinds = [Kind.RESEARCHER] * researchers + [Kind.RUNAWAY] * runaways + [Kind.STRANGER]
    kinds += [Kind.STEADY] * (count - len(kinds))
    users = max(3, count // 3)
    crowd: list[Agent] = []
    for number, kind in enumerate(kinds, start=1):
        team = RESEARCH if kind is Kind.RESEARCHER else _TEAMS[number % len(_TEAMS)]
        loops = 1 + number % 4 if kind is Kind.RUNAWAY else 1
        crowd.append(Agent(f"{kind}-{number:02}", kind, team, f"user-{number % users:02}", loops))
    return crowd


def policy_text(crowd: list[Agent]) -> str:
    """Write the policy file; the research team's limit grows with its size."""
    researchers = sum(agent.kind is Kind.RESEARCHER for agent in crowd)
    return _POLICY.format(
        research_usd=f"{researchers * 0.04:.2f}",
        what_if_usd=f"{len(crowd) * 0.01:.2f}",
        burst_usd=BURST_USD,
        burst_agent=BURST_AGENT,
        org=ORG,
        research=RESEARCH,
        sonnet=SONNET,
        haiku=HAIKU,
        oss=OSS_20B,
    )


_POLICY = """\
# Written by `spendgate demo`. Each call is charged to every budget that covers it.
defaults: {{max_output_tokens: 2048, unmatched: refuse}}
budgets:
  - {{id: org-month, scope: {{org: {org}}}, limit_usd: 25, window: month}}
  - {{id: teams, scope: {{team: "*"}}, limit_usd: 3, window: day}}
  - id: research-day              # beats the wildcard; steps down from half of it on
    scope: {{team: {research}}}
    limit_usd: {research_usd}
    window: day
    soft_cap: 0.5
    auto_downgrade:
      - {{from: [{sonnet}], to: {haiku}}}
      - {{from: [{haiku}], to: {oss}}}
    disable_tools: [web_search]
  - {{id: agents, scope: {{agent: "*"}}, limit_usd: 0.06, window: day}}
  - {{id: batch-agent, scope: {{agent: {burst_agent}}}, limit_usd: 2, window: day}}
  - {{id: users, scope: {{user: "*"}}, limit_usd: 0.15, window: week}}
  - {{id: sessions, scope: {{session: "*"}}, limit_usd: 0.025, window: lifetime}}
  - {{id: tasks, scope: {{task: "*"}}, limit_usd: 0.012, window: hour}}
  - {{id: cost-centers, scope: {{tags: {{cost_center: "*"}}}}, limit_usd: 2, window: month}}
  - {{id: bursts, scope: {{tags: {{burst: "*"}}}}, limit_usd: {burst_usd}, window: lifetime}}
  - {{id: what-if, scope: {{org: {org}}}, limit_usd: {what_if_usd}, window: day, mode: shadow}}
"""
