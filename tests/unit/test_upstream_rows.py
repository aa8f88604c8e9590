"""`upstreams:` and `router:` of a policy file: every key, every default, every mistake."""

from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.adapters.budget_codec import decode_defaults, encode_defaults
from spendgate.adapters.policy_source import load_policy, read_policy
from spendgate.adapters.policy_yaml import parse_yaml
from spendgate.adapters.price_book import load_price_book
from spendgate.domain.budget import Policy
from spendgate.domain.upstream import (
    Cause,
    Retries,
    Router,
    Strategy,
    UpstreamKind,
    UpstreamSpec,
    WorkspacePath,
)
from spendgate.errors import PolicyError

NOW = datetime(2026, 1, 15, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]
SECRET = "sk-this-is-the-key-itself"


def load(folder: Path, text: str, *, with_prices: bool = False) -> Policy:
    file = folder / "budgets.yml"
    file.write_text(f"budgets: []\n{dedent(text)}", encoding="utf-8")
    return load_policy(file, book=load_price_book() if with_prices else None, at=NOW)


def problems(folder: Path, text: str, *, with_prices: bool = False) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        load(folder, text, with_prices=with_prices)
    return str(caught.value).splitlines()


def test_every_key_is_read(tmp_path: Path) -> None:
    policy = load(
        tmp_path,
        """
        upstreams:
          workspace:
            kind: databricks
            url: https://adb-1.example.net/
            path: ai_gateway
            models: ["databricks-*"]
            geo: in_geo
          local:
            url: http://10.0.0.5:8000/v1
            key: env:VLLM_KEY
            models: llama-3-8b
            aliases: {mistral: mistralai/Mistral-7B-Instruct-v0.3}
            timeout_seconds: 120
            connect_seconds: 0.5
            bills_5xx: false
            sends_usage_context: false
        router:
          name: cheapest
          strategy: cost_optimized
          candidates: [llama-3-8b, mistral]
          fallbacks: {llama-3-8b: mistral}
          retries: {attempts_max: 4, total_seconds: 20, backoff_seconds: 0.25, causes: [429, lost]}
          max_call_usd: 0.05
        """,
    )

    workspace, local = policy.upstreams
    assert workspace == UpstreamSpec(
        "workspace",
        "https://adb-1.example.net",
        UpstreamKind.DATABRICKS,
        WorkspacePath.AI_GATEWAY,
        models=("databricks-*",),
        geo="in_geo",
    )
    assert local == UpstreamSpec(
        "local",
        "http://10.0.0.5:8000/v1",
        key="env:VLLM_KEY",
        models=("llama-3-8b",),
        aliases={"mistral": "mistralai/Mistral-7B-Instruct-v0.3"},
        timeout_seconds=120.0,
        connect_seconds=0.5,
        bills_5xx=False,
        sends_usage_context=False,
    )
    assert policy.router == Router(
        "cheapest",
        Strategy.COST_OPTIMIZED,
        ("llama-3-8b", "mistral"),
        {"llama-3-8b": ("mistral",)},
        Retries(4, 20.0, 0.25, (Cause.RATE_LIMIT, Cause.LOST)),
        50_000_000,
    )


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    policy = load(tmp_path, "upstreams: {local: {url: http://127.0.0.1:8000}}\nrouter:")

    assert policy.upstreams == (UpstreamSpec("local", "http://127.0.0.1:8000"),)
    assert policy.upstreams[0].models == ("*",)
    assert policy.router == Router() == load(tmp_path, "").router


def test_a_server_with_aliases_alone_serves_only_those(tmp_path: Path) -> None:
    (spec,) = load(tmp_path, "upstreams: {u: {url: http://h, aliases: {a: b}}}").upstreams

    assert spec.serves("a")
    assert not spec.serves("b")


def test_a_workspace_may_be_named_by_the_environment(tmp_path: Path) -> None:
    (spec,) = load(tmp_path, "upstreams: {w: {kind: databricks}}").upstreams

    assert spec.url is None


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ("", "upstream 'u': url: is required for kind: openai"),
        ("url: h", "url: must be a URL such as"),
        ("url: ftp://h", "url: must be a URL such as"),
        ("url: 'https://key:pw@h/v1'", "url: holds a user or password"),
        ("url: 'https://key:p/w@h/v1'", "url: holds a user or password"),
        ("url: 'https://h/v1?key=1'", "url: must end with its path"),
        ("url: http://h, kind: azure", "kind: 'azure' must be 'openai' or 'databricks'"),
        ("url: http://h, path: openai", "path: is for kind: databricks"),
        ("kind: databricks, path: gateway", "path: 'gateway' must be 'invocations', 'openai' or"),
        ("kind: databricks, url: https://w/serving-endpoints", "must be the workspace alone"),
        ("url: http://h, models: [1]", "models.0: must be text"),
        ("url: http://h, model: [a]", "model: unknown key; did you mean models?"),
        ("url: http://h, aliases: [a]", "aliases: must be a valid dictionary"),
        ("url: http://h, timeout_seconds: 0", "timeout_seconds: 0 must be above 0"),
        ("url: http://h, connect_seconds: 1e9", "must be above 0 and at most 3600 seconds"),
        ("url: http://h, bills_5xx: maybe", "bills_5xx: must be a valid boolean"),
        ("url: http://h, headers: {}", "headers: unknown key"),
    ],
)
def test_a_wrong_field_of_an_upstream_is_named(tmp_path: Path, fields: str, problem: str) -> None:
    (found,) = problems(tmp_path, f"upstreams:\n  u: {{{fields}}}")

    assert found.startswith("budgets.yml: upstream 'u': ")
    assert problem in found


@pytest.mark.parametrize(
    "key", [SECRET, f"env:{SECRET}", "'env:'", "'file:'", f"Bearer {SECRET}", "[a]", '"env:A\\nB"']
)
def test_a_key_in_the_file_itself_is_refused_and_not_repeated(tmp_path: Path, key: str) -> None:
    (found,) = problems(tmp_path, f"upstreams:\n  u: {{url: http://h, key: {key}}}")

    assert "key: must say where the key is: env:NAME or file:PATH" in found
    assert SECRET not in found


def test_a_name_that_no_event_could_show_is_refused(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "upstreams: {'a b': {url: http://h}}")

    assert "upstream 'a b': name: use letters, digits" in found


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ("strategy: random", "strategy: 'random' must be 'cost_optimized', 'priority' or 'fixed'"),
        ("candidates: [auto]", "candidates: holds the router's own name"),
        ("name: r, candidates: [a, r]", "candidates: holds the router's own name"),
        ("candidates: [a, b, a]", "candidates: names 'a' twice"),
        ("fallbacks: {a: [a]}", "fallbacks: 'a' can't stand in for itself"),
        ("fallbacks: {a: [b, b]}", "fallbacks: names 'b' twice"),
        ("retries: {attempts_max: 11}", "retries.attempts_max: must be less than or equal to 10"),
        ("retries: {attempts_max: 0}", "retries.attempts_max: must be greater than"),
        ("retries: {causes: [500]}", "retries.causes.0: '500' must be 'connect', '429', '5xx'"),
        ("retries: {attempt_max: 2}", "retries.attempt_max: unknown key; did you mean attempts_"),
        ("max_call_usd: 0", "max_call_usd: 0 must be above 0"),
        ("strategi: fixed", "strategi: unknown key; did you mean strategy?"),
    ],
)
def test_a_wrong_field_of_the_router_is_named(tmp_path: Path, fields: str, problem: str) -> None:
    (found,) = problems(tmp_path, f"router: {{{fields}}}")

    assert found.startswith("budgets.yml: router: ")
    assert problem in found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("router: {candidates: [databricks-gpt-os-20b]}", "did you mean databricks-gpt-oss-20b?"),
        ("router: {fallbacks: {no-such: [databricks-gpt-oss-20b]}}", "'no-such' has no price"),
        (
            "router: {name: databricks-gpt-oss-20b, candidates: [databricks-gpt-oss-120b]}",
            "name: 'databricks-gpt-oss-20b' is a model with a price",
        ),
        (
            "router: {fallbacks: {databricks-gpt-oss-20b: [databricks-gte-large-en]}}",
            "answers with embedding, so it can't stand in for 'databricks-gpt-oss-20b'",
        ),
        ("upstreams: {u: {url: http://h, geo: mars}}", "geo: 'mars' names no prices; there are:"),
    ],
)
def test_what_could_not_be_priced_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = problems(tmp_path, text, with_prices=True)

    assert problem in found


texts = st.text("abcxyz-.", min_size=1, max_size=6)
specs = st.builds(
    UpstreamSpec,
    st.from_regex(r"[a-z][a-z0-9._:-]{0,5}", fullmatch=True),
    st.just("https://h.example"),
    st.just(UpstreamKind.DATABRICKS),
    st.sampled_from(WorkspacePath),
    st.sampled_from([None, "env:KEY", "file:/run/key"]),
    st.lists(texts, min_size=1, max_size=3).map(tuple),
    st.dictionaries(texts, texts, max_size=2),
    st.sampled_from([None, "in_geo"]),
    st.sampled_from([None, 0.25, 120.0]),
    st.sampled_from([None, 5.0]),
    st.sampled_from([None, True, False]),
    st.booleans(),
)
routers = st.builds(
    Router,
    st.just("auto"),
    st.sampled_from(Strategy),
    st.lists(texts, max_size=3, unique=True).map(tuple),
    st.dictionaries(texts, st.just(("w",)), max_size=2),
    st.builds(
        Retries,
        st.none() | st.integers(1, 10),
        st.sampled_from([0.5, 60.0]),
        st.sampled_from([0.1, 0.5]),
        st.lists(st.sampled_from(Cause), unique=True).map(tuple),
    ),
    st.none() | st.integers(1, 10**15),
)


@given(st.lists(specs, max_size=3), routers)
def test_what_a_ledger_stores_reads_back_as_itself(
    found: list[UpstreamSpec], router: Router
) -> None:
    policy = Policy(upstreams=tuple(found), router=router)

    assert decode_defaults(encode_defaults(policy)) == policy


def test_what_an_older_version_stored_is_read_with_the_defaults() -> None:
    policy = decode_defaults('{"defaults": {}, "models": {}}')

    assert (policy.upstreams, policy.router) == ((), Router())


def test_what_the_example_file_comments_out_is_a_policy_too() -> None:
    text = (ROOT / "budgets.yml").read_text("utf-8")
    lines = text.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("# upstreams:"))
    last = next(n for n, line in enumerate(lines) if line.startswith("# What we know about models"))
    kept = [line.removeprefix("# ") for line in lines[first:last] if line[2:3] in " ur"]
    document = parse_yaml("budgets: []\n" + "\n".join(kept), where="budgets.yml")

    policy = read_policy(document, where="budgets.yml", book=load_price_book(), at=NOW)

    assert [one.name for one in policy.upstreams] == ["workspace", "vllm"]
    assert policy.router.candidates


def test_what_the_documentation_shows_is_a_policy() -> None:
    page = (ROOT / "docs" / "upstreams.md").read_text("utf-8")
    blocks = [part.split("```", 1)[0] for part in page.split("```yaml\n")[1:]]

    document = parse_yaml("budgets: []\n" + "\n".join(blocks), where="upstreams.md")
    policy = read_policy(document, where="upstreams.md", book=load_price_book(), at=NOW)

    assert [one.kind for one in policy.upstreams] == ["databricks", "openai"]
    assert policy.router.strategy is Strategy.COST_OPTIMIZED
