"""Scopes: what they cover, how they are written and what they refuse."""

import pytest

from spendgate.domain.scope import (
    VALUE_BYTES_MAX,
    Dimension,
    Identity,
    Scope,
    ScopeError,
    checked_dimension,
    checked_value,
    checked_wildcards,
)

IDENTITY = Identity({"org": "acme", "user": "alice"}, {"cost_center": "4711"}, frozenset({"org"}))


def test_a_scope_is_written_widest_dimension_first_and_tags_last() -> None:
    scope = Scope.of({"tag.cost_center": "4711", "task": "t-1", "org": "acme", "tag.app": "x"})

    assert scope.text == "org:acme,task:t-1,tag.app:x,tag.cost_center:4711"
    assert scope.kind == "org,task,tag.app,tag.cost_center"
    assert scope.value_text == "acme,t-1,x,4711"


def test_the_dimensions_go_from_wide_to_narrow() -> None:
    scope = Scope.of(dict.fromkeys(sorted(Dimension), "v"))

    assert scope.dimensions == ("org", "team", "agent", "user", "session", "task")


@pytest.mark.parametrize(
    ("scope", "lacking"),
    [
        ("org:acme,team:a,agent:*", ("team", "agent")),
        ("user:alice", ()),
        ("user:*,tag.app:x", ("tag.app",)),
        ("org:other,team:a", None),
        ("all", ()),
    ],
)
def test_a_scope_says_what_an_identity_would_have_to_name_besides(
    scope: str, lacking: tuple[str, ...] | None
) -> None:
    assert Scope.parse(scope).lacking(IDENTITY) == lacking


@pytest.mark.parametrize(
    ("scope", "respelt"),
    [
        ("org:Acme,user:*", (("org", "Acme"),)),
        ("org:ACME,tag.cost_center:4711", (("org", "ACME"),)),
        ("org:Acme,user:Alice", (("org", "Acme"), ("user", "Alice"))),
        ("org:acme", ()),  # it covers the identity
        ("org:Acme,user:bob", ()),
        ("org:Acme,team:*", ()),
        ("all", ()),
    ],
)
def test_a_scope_says_what_an_identity_has_but_for_its_case(
    scope: str, respelt: tuple[tuple[str, str], ...]
) -> None:
    assert Scope.parse(scope).respelt(IDENTITY) == respelt


def test_everything_is_written_all() -> None:
    scope = Scope.of({})

    assert scope == Scope.parse("all") == Scope()
    assert (scope.text, scope.kind, scope.value_text) == ("all", "all", "*")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("user:a%2Cb", "a,b"),
        ("user:50%25", "50%"),
        ("user:%252C", "%2C"),
        ("user:%25%2C%25", "%,%"),
        ("user:arn:aws:iam", "arn:aws:iam"),
    ],
)
def test_commas_and_percent_signs_are_encoded(text: str, value: str) -> None:
    scope = Scope.of({"user": value})

    assert scope.text == text
    assert Scope.parse(text) == scope
    assert scope.value_text == text.removeprefix("user:")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is no scope"),
        ("alice", "is no scope"),
        ("user:alice,", "is no scope"),
        ("user:alice,user:bob", "named twice"),
        ("user:", "scope.user is empty"),
        ("user:  ", "scope.user is empty"),
        ("galaxy:milky-way", "unknown scope 'galaxy'"),
        ("User:alice", "unknown scope 'User'"),
        ("tag.:x", "is empty"),
    ],
)
def test_a_text_of_another_form_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ScopeError, match=complaint):
        Scope.parse(text)


@pytest.mark.parametrize("name", ["tag.a,b", "tag.a:b", "tag.a\n", "tag.", None, 3, "x" * 1000])
def test_a_name_that_could_not_be_read_back_is_no_dimension(name: object) -> None:
    with pytest.raises(ScopeError) as caught:
        checked_dimension(name)

    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", ["a", "a b", "*", "é" * (VALUE_BYTES_MAX // 2), "漢字"])
def test_printable_text_is_a_value(value: str) -> None:
    assert checked_value("user", value) == value


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (None, "not NoneType"),
        (7, "not int"),
        ("", "is empty"),
        (" ", "is empty"),
        ("a\nb", "unprintable"),
        ("a\u202eb", "unprintable"),
        ("\ud800", "unprintable"),
        ("x" * (VALUE_BYTES_MAX + 1), "longer than 256 bytes"),
        ("é" * (VALUE_BYTES_MAX // 2 + 1), "longer than 256 bytes"),
    ],
)
def test_anything_else_is_no_value_and_is_not_repeated(value: object, complaint: str) -> None:
    with pytest.raises(ScopeError, match=complaint) as caught:
        checked_value("user", value)

    assert str(caught.value).startswith("user ")
    assert not isinstance(value, str) or len(value) < 3 or value not in str(caught.value)


@pytest.mark.parametrize(
    ("scope", "bound"),
    [
        ("all", "all"),
        ("org:acme", "org:acme"),
        ("user:*", "user:alice"),
        ("org:*,user:alice", "org:acme,user:alice"),
        ("tag.cost_center:*", "tag.cost_center:4711"),
        ("org:globex", None),
        ("org:acme,user:bob", None),
        ("session:*", None),
        ("tag.app:*", None),
    ],
)
def test_a_scope_is_bound_to_the_values_of_whom_it_covers(scope: str, bound: str | None) -> None:
    match = Scope.parse(scope).match(IDENTITY)

    assert (match.text if match else None) == bound


def test_a_tag_is_no_dimension_of_the_same_name() -> None:
    assert Scope.parse("user:*").match(Identity(tags={"user": "alice"})) is None
    assert Scope.parse("tag.user:*").match(Identity({"user": "alice"})) is None


def test_only_the_wildcard_dimensions_stand_for_any_value() -> None:
    assert Scope.parse("org:*,team:a,user:*").wildcards == {"org", "user"}
    assert Scope.parse("all").wildcards == frozenset()


def test_a_scope_names_an_identity_of_its_values_and_tags() -> None:
    scope = Scope.parse("user:alice,tag.cost_center:47%2C11")

    assert scope.identity == Identity({"user": "alice"}, {"cost_center": "47,11"})


@pytest.mark.parametrize("text", ["all", "org:*,user:*", "org:acme,tag.app:*", "agent:bot"])
def test_a_wildcard_that_is_the_whole_value_is_one(text: str) -> None:
    assert checked_wildcards(Scope.parse(text)).text == text


@pytest.mark.parametrize("value", ["bot-*", "*-bot", "**", "a*b", " *"])
def test_a_star_within_a_value_of_a_rule_is_refused(value: str) -> None:
    with pytest.raises(ScopeError, match=r"name one value, or write \* alone for all") as caught:
        checked_wildcards(Scope.of({"org": "acme", "agent": value}))

    assert str(caught.value).startswith(f"agent {value!r}: ")


def test_a_caller_whose_name_holds_a_star_is_covered_by_all() -> None:
    bound = Scope.parse("agent:*").match(Identity({"agent": "bot-*"}))

    assert bound == Scope((("agent", "bot-*"),))
