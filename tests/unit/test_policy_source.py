"""The policy file: every key, every default, and every mistake told at once with its way out."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from textwrap import dedent

import pytest

from spendgate.adapters.policy_source import default_budget, load_policy
from spendgate.adapters.policy_yaml import FILE_BYTES_MAX
from spendgate.adapters.price_book import load_price_book
from spendgate.config import Settings
from spendgate.domain.budget import Budget, DowngradeStep, Mode, ModelLimits, Policy, PolicyDefaults
from spendgate.domain.loop import LoopGuard
from spendgate.domain.notifier import NotifierKind, NotifierSpec
from spendgate.domain.scope import Identity, Scope
from spendgate.domain.window import parse_window
from spendgate.errors import PolicyError

NOW = datetime(2026, 1, 15, tzinfo=UTC)
EXAMPLE = Path(__file__).parents[2] / "budgets.yml"


def load(folder: Path, text: str, *, with_prices: bool = False) -> Policy:
    file = folder / "budgets.yml"
    file.write_text(dedent(text), encoding="utf-8")
    return load_policy(file, book=load_price_book() if with_prices else None, at=NOW)


def problems(folder: Path, text: str, *, with_prices: bool = False) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        load(folder, text, with_prices=with_prices)
    return str(caught.value).splitlines()


def one_budget(fields: str) -> str:
    return f"budgets:\n  - {{id: b, scope: {{org: acme}}, limit_usd: 10, {fields}}}\n"


def test_the_example_file_loads_with_the_shipped_prices() -> None:
    policy = load_policy(EXAMPLE, book=load_price_book(), at=NOW)

    assert policy.budget("org-monthly") is not None
    assert policy.raises
    assert policy.models


def test_a_budget_that_says_the_least_has_every_default(tmp_path: Path) -> None:
    policy = load(tmp_path, "budgets: [{id: b, scope: {org: acme}, limit_usd: 500}]")

    (budget,) = policy.budgets
    assert budget == Budget(
        "b", Scope((("org", "acme"),)), 500 * 10**9, parse_window("month"), source="file"
    )
    assert policy.defaults == PolicyDefaults()


def test_every_key_is_read(tmp_path: Path) -> None:
    policy = load(
        tmp_path,
        """
        defaults: {max_output_tokens: 100, unmatched: allow, held_wait_seconds: 0.5,
                   loop_guard: {repeats: 5, minutes: 10}}
        budgets:
          - id: b
            scope: {team: "*", tags: {centre: "4711"}}
            limit_usd: 12.345678901
            window: {rolling: 24h}
            tz: Europe/Berlin
            soft_cap: 0.5
            hard_cap: 0.9
            auto_downgrade: [{from: a, to: b}, {from: [b, c], to: d}]
            disable_tools: web_search
            alerts: [1.5, 0.5]
            routes: [mail]
            mode: shadow
            bound: strict
            fit: false
            min_output_tokens: 7
            trust: {team: asserted}
            refusal: in_band
            on_client_abort: close
            on_store_error: refuse
            loop_guard: {repeats: 3, minutes: 1}
            expires_at: 2030-01-01T00:00:00Z
          - {raises: b, id: r, amount_usd: 3, reason: launch, expires_at: 2030-01-01T00:00:00Z}
        models:
          m: {image_tokens: 1, max_output_tokens: 2, min_output_tokens: 3, tool_preamble_tokens: 0}
        notifiers:
          mail: {to: env:MAIL_URL}
          bills: {to: "secret:money/url", kind: webhook, key: "file:/k", alerts: [hard_stop]}
        """,
    )

    (budget,) = policy.budgets
    assert budget.scope.text == "team:*,tag.centre:4711"
    assert budget.limit_nano == 12_345_678_901
    assert budget.auto_downgrade == (DowngradeStep(("a",), "b"), DowngradeStep(("b", "c"), "d"))
    assert (budget.soft_cap_ppm, budget.hard_cap_ppm) == (500_000, 900_000)
    assert budget.alerts_ppm == (500_000, 1_500_000)
    assert budget.disable_tools == ("web_search",)
    assert (budget.mode, budget.fit) == (Mode.SHADOW, False)
    assert policy.raises[0].amount_nano == 3 * 10**9
    assert policy.models == {"m": ModelLimits(1, 2, 3, 0)}
    assert policy.defaults == PolicyDefaults(100, "allow", 0.5, LoopGuard(5, 10))
    assert budget.loop_guard == LoopGuard(3, 1)
    assert budget.routes == ("mail",)
    assert policy.notifiers == (
        NotifierSpec("mail", "env:MAIL_URL"),
        NotifierSpec("bills", "secret:money/url", NotifierKind.WEBHOOK, "file:/k", ("hard_stop",)),
    )


def test_a_notifier_holds_references_only_and_every_route_leads_to_one(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """
        defaults: {routes: [nowhere]}
        budgets: [{id: b, scope: {org: acme}, limit_usd: 1, routes: [chta]}]
        notifiers:
          chat: {to: "https://hooks.example.com/s3cret"}
          bills: {to: env:URL, kind: webhook}
          mail: {to: env:URL, key: env:KEY, alerts: [hardstop]}
          ledger: {to: env:URL, kind: chargeback, key: env:KEY, alerts: [hard_stop]}
        """,
    )

    assert found[0] == (
        "budgets.yml: notifier 'chat': to: must say where the secret is: env:NAME, file:PATH or "
        "secret:SCOPE/KEY; an address or a key itself never stands here"
    )
    assert "notifier 'bills': key: is required for kind: webhook" in found[1]
    assert "notifier 'mail': alerts.0: 'hardstop' must be 'threshold'" in found[2]
    assert "notifier 'ledger': alerts: none go to kind: chargeback" in found[3]
    assert "budget 'b': routes: there is no notifier 'chta'" in found[4]
    assert "defaults: routes: there is no notifier 'nowhere'" in found[5]
    assert "s3cret" not in str(found)


def test_an_empty_scope_covers_everything(tmp_path: Path) -> None:
    policy = load(tmp_path, "budgets: [{id: b, scope: {}, limit_usd: 1}]")

    assert policy.claims(Identity({"user": "anybody"}), NOW)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """
        defaults: {unmatched: perhaps}
        budgets:
          - {id: org-monthly, scope: {org: acme}, limit_usd: 5, soft_cap: 1.2, window: fortnight}
          - {scope: {planet: mars}, limit_usd: yes}
        """,
    )

    beginnings = [line.split(": ")[:3] for line in found]
    assert beginnings == [
        ["budgets.yml", "budget 'org-monthly'", "window"],
        ["budgets.yml", "budget 'org-monthly'", "soft_cap"],
        ["budgets.yml", "budget #2", "id"],
        ["budgets.yml", "budget #2", "scope"],
        ["budgets.yml", "budget #2", "limit_usd"],
        ["budgets.yml", "defaults", "unmatched"],
    ]
    assert "soft_cap: 1.2 is above hard_cap 1.0; set it to 1.0 or less" in found[1]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ("soft_cpa: 0.5", "soft_cpa: unknown key; did you mean soft_cap?"),
        ("hard_cap: 1.1", "hard_cap: 1.1 is above 1.0"),
        ("hard_cap: 1.0e+400", "hard_cap: 1.0E+400 is above 10"),
        ("hard_cap: 0.5", "soft_cap: 0.8 is above hard_cap 0.5"),
        ("loop_guard: {repeats: 0, minutes: 1}", "loop_guard.repeats: must be greater"),
        ("loop_guard: {repeats: 1}", "loop_guard.minutes: is required"),
        ("loop_guard: {repeats: 1, minutes: 1441}", "loop_guard.minutes: must be less"),
        ("loop_guard: {repeats: 1, minutes: 9, minute: 9}", "did you mean minutes?"),
        ("soft_cap: 0", "soft_cap: 0 must be above 0"),
        ("soft_cap: 0.1234567", "more than six decimals"),
        ("alerts: [0]", "alerts.0: 0 must be above 0"),
        ("alerts: [0.5, 11]", "alerts.1: 11 is above 10"),
        ("tz: Europe/Berln", "did you mean Europe/Berlin?"),
        ("window: rolling", "'rolling' is not a window"),
        ("window: {rolling: 24h, tz: UTC}", "is not a window"),
        ("bound: guessed", "bound: 'guessed' must be 'strict' or 'counted'"),
        ("on_store_error: allow", "on_store_error: 'allow' would break the promise"),
        ("idle_ttl: 30d", "idle_ttl: a month window ends by itself"),
        ("window: lifetime, idle_ttl: 30d", "idle_ttl: would forget what org:acme has spent"),
        ("window: lifetime, idle_ttl: 30w", "idle_ttl: '30w' is no duration"),
        ("window: lifetime, idle_ttl: 59m", "idle_ttl: 59m is below 1h"),
        ("rollover: 50", "rollover: must be a mapping such as {max_usd: 50}"),
        ("rollover: {max_usd: 0}", "rollover.max_usd: 0 must be above 0"),
        ("rollover: {max_usd: 1, min_usd: 1}", "rollover.min_usd: unknown key"),
        ("rollover: {max_usd: 9200000000}", "rollover: with limit_usd"),
        (
            "window: lifetime, rollover: {max_usd: 1}",
            "rollover: a lifetime window has none before it; use minute",
        ),
        ("mode: off", "mode: 'False' must be 'enforce' or 'shadow'"),
        ("fit: 1.5", "fit: must be a valid boolean"),
        ("min_output_tokens: true", "min_output_tokens: must be a valid integer"),
        ("min_output_tokens: 0", "min_output_tokens: must be greater than or equal to 1"),
        ("trust: {orgg: trusted}", "trust: unknown scope 'orgg'"),
        ("trust: {org: maybe}", "trust.org: 'maybe' must be 'trusted' or 'asserted'"),
        ("expires_at: 2030-01-01", "expires_at: must be a time with its zone"),
        ("expires_at: 2030-01-01 00:00:00", "has no zone; add Z"),
        ("expires_at: 1893456000", "expires_at: must be a time"),
        ("expires_at: '0001-01-01T00:00:00+14:00'", "0001-01-01T00:00:00+14:00 is no time"),
        ("expires_at: 0001-01-01T00:00:00+14:00", "is no time"),
        ("auto_downgrade: [{from: a, to: a}]", "goes in a circle: a -> a"),
        ("auto_downgrade: [{from: a, to: b}, {from: b, to: a}]", "goes in a circle"),
        ("auto_downgrade: [{from: [], to: b}]", "auto_downgrade.0.from: must name at least one"),
        ("auto_downgrade: [{from: a}]", "auto_downgrade.0.to: is required"),
        ("source: people", "source: unknown key"),
    ],
)
def test_a_wrong_field_is_named_with_its_problem(tmp_path: Path, fields: str, problem: str) -> None:
    found = problems(tmp_path, one_budget(fields))

    assert len(found) == 1
    assert found[0].startswith("budgets.yml: budget 'b': ")
    assert problem in found[0]


@pytest.mark.parametrize(
    ("scope", "problem"),
    [
        ("{user: 17}", "scope.user must be a string, not int"),
        ("{user: ''}", "is empty"),
        ("{tag.: x}", "is empty"),
        ("{tags: [a]}", "tags must be a mapping"),
        ("[org, acme]", "must be a mapping such as"),
        ("{agent: bot-*}", "scope: agent 'bot-*': a * within a value stands for nothing; name one"),
        ("'agent:bot-*'", "or write * alone for all"),
        ("{tags: {app: '*-web'}}", "tag.app '*-web': a * within"),
        ("{planet: mars}", "unknown scope 'planet'; known are org"),
    ],
)
def test_a_wrong_scope_is_named_with_its_problem(tmp_path: Path, scope: str, problem: str) -> None:
    found = problems(tmp_path, f"budgets: [{{id: b, scope: {scope}, limit_usd: 1}}]")

    assert problem in found[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("# nothing but a comment", "is empty"),
        ("- a", "must be a mapping with `budgets:`, not a list"),
        ("budgets", "must be a mapping with `budgets:`, not text"),
        ("defaults: {}", "budgets: is required"),
        ("budgets: {id: b}", "budgets: must be a list of budgets, not a mapping"),
        ("budgets: [b]", "budget #1: must be a mapping, not text"),
        ("budgets: []\nmodels: [m]", "models: must be a mapping, not a list"),
        ("budgets: []\nmodel: {}", "model: unknown key; did you mean models?"),
        ("budgets: []\nupstreams: [u]", "upstreams: must be a mapping, not a list"),
        ("budgets: []\nbudgets: []", "line 2: key 'budgets' stands twice"),
        ("budgets: [{id: b, id: c}]", "line 1: key 'id' stands twice"),
        ("budgets: &a []\nmodels: *a", "line 2: aliases (*name) are not supported"),
        ("budgets: [", "line 1: "),
        ("budgets: !!python/object:os.system []", "line 1: "),
        ("? [a]\n: b", "line 1: a key must be plain text"),
        ("[" * 5000, "is nested too deeply"),
    ],
)
def test_a_file_that_is_no_policy_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    found = problems(tmp_path, text)

    assert len(found) == 1
    assert found[0].startswith("budgets.yml: ")
    assert problem in found[0]


def test_a_policy_without_budgets_is_written_so(tmp_path: Path) -> None:
    assert load(tmp_path, "budgets: []").budgets == ()


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    assert "is larger than" in problems(tmp_path, "#" * (FILE_BYTES_MAX + 1))[0]


def test_a_missing_file_and_one_of_another_encoding_are_told_apart(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yml"
    latin.write_bytes("budgets: [] # für alle".encode("latin-1"))

    with pytest.raises(PolicyError, match=r"latin\.yml: is not UTF-8"):
        load_policy(latin, book=None, at=NOW)
    with pytest.raises(PolicyError, match=r"none\.yml: can't be read: No such file"):
        load_policy(tmp_path / "none.yml", book=None, at=NOW)


def test_an_id_may_stand_only_once(tmp_path: Path) -> None:
    row = "{id: b, scope: {}, limit_usd: 1}"
    raised = "{raises: b, id: r, amount_usd: 1, reason: x}"

    found = problems(tmp_path, f"budgets: [{row}, {row}, {raised}, {raised}]")

    assert [line.split(": ", 1)[1] for line in found] == [
        "budget 'b': id: stands 2 times; rename all but one",
        "raise 'r': id: stands 2 times; rename all but one",
    ]


def test_a_raise_must_name_a_budget_of_the_file(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """
        budgets:
          - {id: org-monthly, scope: {}, limit_usd: 1}
          - {raises: org-montly, id: r, amount_usd: 1, reason: launch}
        """,
    )

    assert found == [
        "budgets.yml: raise 'r': raises: there is no budget 'org-montly'; did you mean org-monthly?"
    ]


def test_a_raise_of_a_budget_that_is_wrong_elsewhere_is_no_second_problem(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "budgets: [{id: b, scope: {}, limit_usd: 0}, {raises: b, amount_usd: 1, reason: x}]",
    )

    assert len(found) == 1
    assert "limit_usd" in found[0]


def test_a_chain_of_models_without_a_price_is_refused_when_prices_are_known(
    tmp_path: Path,
) -> None:
    text = one_budget("auto_downgrade: [{from: databricks-claude-haiku-45, to: my-own}]")

    found = problems(tmp_path, text, with_prices=True)

    assert len(found) == 2
    assert "'databricks-claude-haiku-45' has no price; did you mean databricks-claude" in found[0]
    assert "'my-own' has no price; add one with `spendgate price set my-own" in found[1]
    assert load(tmp_path, text).budgets


@pytest.mark.parametrize(
    ("model", "targets", "said"),
    [
        ("claude-haiku-4-5", ["claude-opus-4-5"], "'claude-opus-4-5' costs more than"),
        # It costs as much to ask, and more to answer.
        ("meta-llama-3-1-8b-instruct", ["gpt-oss-120b"], "'gpt-oss-120b' costs more than"),
        ("claude-haiku-4-5", ["gte-large-en"], "'gte-large-en' answers with embedding, so it"),
        ("claude-haiku-4-5", ["gpt-oss-20b", "gpt-oss-120b"], "'claude-haiku-4-5' has two steps"),
    ],
)
def test_a_step_that_saves_nothing_or_says_two_things_is_refused(
    tmp_path: Path, model: str, targets: list[str], said: str
) -> None:
    steps = ", ".join(f"{{from: databricks-{model}, to: databricks-{one}}}" for one in targets)

    found = problems(tmp_path, one_budget(f"auto_downgrade: [{steps}]"), with_prices=True)

    assert len(found) == 1
    assert said in found[0].replace("databricks-", "")


@pytest.mark.parametrize("limit", ["9000000000", "5000000000, rollover: {max_usd: 4000000000}"])
def test_a_raise_and_its_budget_must_fit_a_ledger_together(tmp_path: Path, limit: str) -> None:
    found = problems(
        tmp_path,
        f"""
        budgets:
          - {{id: b, scope: {{}}, limit_usd: {limit}}}
          - {{raises: b, amount_usd: 1000000000, reason: launch}}
        """,
    )

    assert "with its raises and rollover it is more than a ledger can hold" in found[0]


def test_without_a_file_every_user_has_the_budget_of_the_settings() -> None:
    settings = Settings(budget_default_limit=Decimal("2.5"), budget_default_window="day")

    budget = default_budget(settings)

    assert budget.scope.text == "user:*"
    assert budget.limit_nano == 2_500_000_000
    assert budget.window == parse_window("day")


def test_settings_that_make_no_budget_are_named() -> None:
    with pytest.raises(PolicyError, match=r"BUDGET_DEFAULT_WINDOW.*: window: 'year'"):
        default_budget(Settings(budget_default_window="year"))
