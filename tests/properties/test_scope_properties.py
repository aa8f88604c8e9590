"""What holds for every scope: it can be read back, and it covers whom it names."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from spendgate.domain.budget import Budget, Policy, parse_window
from spendgate.domain.scope import (
    VALUE_BYTES_MAX,
    WILDCARD,
    Dimension,
    Identity,
    Scope,
    ScopeError,
)

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)

# The first alphabet makes the signs that mean something in a scope's text likely.
texts = st.text("%,:*2C5ca. ", min_size=1, max_size=8) | st.text(min_size=1, max_size=30)
values = texts.filter(
    lambda text: bool(text.strip()) and text.isprintable() and len(text.encode()) <= VALUE_BYTES_MAX
)
tag_names = values.filter(lambda text: ":" not in text and "," not in text)
names = st.sampled_from([one.value for one in Dimension]) | tag_names.map("tag.{}".format)
scopes = st.dictionaries(names, values, max_size=4).map(Scope.of)

# Few values and dimensions, so that scopes and callers meet.
small_values = st.sampled_from(("a", "b"))
small_names = st.sampled_from(("org", "team", "user", "tag.t"))
small_scopes = st.dictionaries(small_names, small_values | st.just(WILDCARD), max_size=3)
callers = st.dictionaries(small_names, small_values, max_size=4)


def identity(caller: dict[str, str]) -> Identity:
    tags = {name.removeprefix("tag."): value for name, value in caller.items() if "." in name}
    return Identity({name: value for name, value in caller.items() if "." not in name}, tags)


def covers(scope: dict[str, str], caller: dict[str, str]) -> bool:
    return all(
        name in caller and (wanted == WILDCARD or caller[name] == wanted)
        for name, wanted in scope.items()
    )


@given(scopes)
def test_a_scope_survives_being_written_and_read(scope: Scope) -> None:
    assert Scope.parse(scope.text) == scope


@given(st.text(max_size=20) | st.text("%,:*userall", max_size=20))
def test_any_text_is_a_scope_with_one_way_to_write_it_or_an_error(text: str) -> None:
    try:
        scope = Scope.parse(text)
    except ScopeError:
        return

    assert Scope.parse(scope.text) == scope


@given(st.permutations(list(Dimension)), st.data())
def test_the_order_of_the_parts_does_not_matter(
    order: list[Dimension], data: st.DataObject
) -> None:
    parts = {name.value: data.draw(values) for name in order[:3]}

    assert Scope.of(parts) == Scope.of(dict(reversed(parts.items())))


@given(st.lists(st.tuples(values, values), min_size=2, max_size=2, unique=True))
def test_two_values_never_share_a_balance(pairs: list[tuple[str, str]]) -> None:
    one, other = (Scope.of({"org": org, "user": user}) for org, user in pairs)

    assert one.value_text != other.value_text


@given(small_scopes, callers)
def test_a_scope_covers_callers_that_have_each_of_its_values(
    scope: dict[str, str], caller: dict[str, str]
) -> None:
    bound = Scope.of(scope).match(identity(caller))

    if covers(scope, caller):
        assert bound == Scope.of({name: caller[name] for name in scope})
    else:
        assert bound is None


@given(st.lists(st.tuples(small_scopes, st.sampled_from(("day", "month"))), max_size=6), callers)
def test_explicit_beats_wildcard_and_everything_else_binds(
    rows: list[tuple[dict[str, str], str]], caller: dict[str, str]
) -> None:
    policy = Policy(
        tuple(
            Budget(f"b{n}", Scope.of(scope), 100, parse_window(window))
            for n, (scope, window) in enumerate(rows)
        )
    )

    claimed = {claim.budget.budget_id for claim in policy.claims(identity(caller), AT)}

    expected: set[str] = set()
    for n, (scope, window) in enumerate(rows):
        explicit = {name for name, value in scope.items() if value != WILDCARD}
        rivals = [
            {name for name, value in other.items() if value != WILDCARD}
            for other, other_window in rows
            if covers(other, caller) and set(other) == set(scope) and other_window == window
        ]
        if covers(scope, caller) and not any(explicit < rival for rival in rivals):
            expected.add(f"b{n}")
    assert claimed == expected
