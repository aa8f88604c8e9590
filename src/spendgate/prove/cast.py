"""Who calls, and the nested budgets: made so that each level is the one that runs out for some."""

import random
from dataclasses import dataclass

from spendgate.demo.traffic import Order, Payer, chat_body

MODEL = "databricks-claude-sonnet-4-5"
ORG = "acme"
TEAMS = ("sessions", "agents", "team", "org")
"""A team per level: its clients go on until a budget of that level is empty."""

_SESSIONS = 2
_CALLS_PER_SECOND = 2.0
_CALL_NANO = 1_600_000
"""What a call costs in the mean, so that limits follow from how long the run is to last."""
_SESSION_NANO_MIN = 60_000_000
_MAX_TOKENS = 150
_LONGER = {"sessions": 3, "agents": 3, "team": 3, "org": 10}
"""The last round's answers: what is left is to be spent soon, by one team even a company's rest."""
_PROMPT = "Ticket {number}: say in three sentences what went wrong and who should look at it."


@dataclass(frozen=True, slots=True)
class Client:
    """One agent that calls."""

    name: str
    team: str

    def payer(self, draw: random.Random) -> Payer:
        """Draw who pays for one call; a team's calls name what its budgets are about."""
        scopes = {"org": ORG, "team": self.team}
        if self.team in {"sessions", "agents"}:
            scopes["agent"] = self.name
        if self.team == "sessions":
            scopes["session"] = f"{self.name}-s{draw.randrange(_SESSIONS)}"
        return Payer(scopes)

    def order(self, draw: random.Random, number: int, *, is_last_round: bool) -> Order:
        """Draw one call, and what its provider does with it.

        A few answers are lost on the way and a few calls fail although they are billed; the gate
        can't know what those cost. A few are refused, which nobody bills.
        """
        chance = draw.random()
        length = draw.randint(40, 140)
        if is_last_round:
            length *= _LONGER[self.team]
        simulate: dict[str, object] = {"output_tokens": length}
        if chance < 0.03:
            simulate["close_connection"] = True
        elif chance < 0.05:
            simulate |= {"status": 500, "bill_on_error": True}
        elif chance < 0.08:
            simulate["status"] = 429
        body = chat_body(
            _PROMPT.format(number=f"{self.name}/{number}"),
            max_tokens=_MAX_TOKENS * (_LONGER[self.team] if is_last_round else 1),
        )
        return Order(self.payer(draw), MODEL, body, simulate)


def make_clients(count: int) -> list[Client]:
    """Make the clients, spread evenly over the teams."""
    return [
        Client(f"client-{number + 1:02}", TEAMS[number % len(TEAMS)]) for number in range(count)
    ]


def policy_text(clients: list[Client], seconds: float) -> str:
    """Write the policy file: limits that last about as long as the run, whatever its size."""
    session = max(_SESSION_NANO_MIN, int(seconds * _CALLS_PER_SECOND * _CALL_NANO / _SESSIONS))
    agent = session * _SESSIONS * 5 // 4
    members = {team: sum(one.team == team for one in clients) for team in TEAMS}
    team = session * _SESSIONS * max(1, members["team"])
    org = (
        session * _SESSIONS * members["sessions"]
        + agent * members["agents"]
        + (team if members["team"] else 0)
        + session * _SESSIONS * max(1, members["org"])
    )
    usd = {"org": org, "each": org * 2, "team": team, "agent": agent, "session": session}
    amounts = {name: f"{nano / 10**9:.6f}" for name, nano in usd.items()}
    return _POLICY.format(name=ORG, **amounts)


_POLICY = """\
# Written by `spendgate prove`. Each call is charged to every budget that covers it.
defaults: {{max_output_tokens: 1500, unmatched: refuse}}
budgets:
  - {{id: org, scope: {{org: {name}}}, limit_usd: {org}, window: month, min_output_tokens: 16}}
  - {{id: teams, scope: {{team: "*"}}, limit_usd: {each}, window: day, min_output_tokens: 16}}
  - {{id: one-team, scope: {{team: team}}, limit_usd: {team}, window: day, min_output_tokens: 16}}
  - {{id: agents, scope: {{agent: "*"}}, limit_usd: {agent}, window: day, min_output_tokens: 16}}
  - id: sessions
    scope: {{session: "*"}}
    limit_usd: {session}
    window: lifetime
    min_output_tokens: 16
  - {{id: what-if, scope: {{org: {name}}}, limit_usd: {session}, window: day, mode: shadow}}
"""
