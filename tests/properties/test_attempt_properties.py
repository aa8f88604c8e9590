"""Rules of the planner for any failures in any order, at any places."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from spendgate.domain.upstream import ATTEMPTS_MAX, Cause, Retries, UpstreamSpec, serving
from spendgate.gateway.attempts import Attempt, Failure, Plan, next_attempt

MODELS = ("big", "mid", "small")
RETRIED = (Cause.CONNECT, Cause.RATE_LIMIT, Cause.SERVER_ERROR)


@dataclass(frozen=True)
class Ending:
    """How one attempt ends, whatever it is."""

    cause: Cause | None
    took_seconds: float = 0.0
    retry_after_seconds: float | None = None
    may_repeat: bool = False
    steps_down: bool = False


endings = st.builds(
    Ending,
    st.sampled_from([None, *Cause]),
    st.floats(0, 20),
    st.none() | st.floats(0, 120),
    st.booleans(),
    st.booleans(),
)
specs = st.lists(
    st.builds(
        UpstreamSpec,
        st.sampled_from(["a", "b", "c"]),
        models=st.lists(st.sampled_from(MODELS), min_size=1, max_size=3, unique=True).map(tuple),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda one: one.name,
)
retries = st.builds(
    Retries,
    st.none() | st.integers(1, ATTEMPTS_MAX),
    st.floats(0.5, 120),
    st.floats(0.1, 5),
    st.lists(st.sampled_from(Cause), unique=True).map(tuple),
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    placed = tuple(draw(specs))
    served = [model for model in MODELS if serving(placed, model)]
    asked = draw(st.lists(st.sampled_from(served), min_size=1, max_size=3, unique=True))
    return Plan(tuple(asked), placed, draw(retries))


@dataclass
class Run:
    """A plan followed to its end; `small` is what budgets step down to where it is served."""

    plan: Plan
    attempts: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    waits: list[float] = field(default_factory=list[float])
    failures: list[Failure] = field(default_factory=list[Failure])
    elapsed: float = 0.0

    def follow(self, script: list[Ending]) -> "Run":
        attempt: Attempt | None = Attempt(self.plan.models[0], 0.0, self.plan)
        for ending in script:
            self.elapsed += attempt.wait_seconds
            can_step = ending.steps_down and serving(self.plan.specs, "small")
            served = "small" if can_step else attempt.model
            spec = attempt.plan.upstream_for(served)
            assert spec is not None
            self.attempts.append((attempt.model, served, spec.name))
            self.waits.append(attempt.wait_seconds)
            self.elapsed += ending.took_seconds
            failure = Failure(
                attempt.model,
                served,
                spec.name,
                ending.cause,
                self.elapsed,
                ending.retry_after_seconds,
                ending.may_repeat,
            )
            self.failures.append(failure)
            attempt = next_attempt(attempt.plan, failure)
            if attempt is None:
                break
        return self


@given(plans(), st.lists(endings, min_size=1, max_size=14), st.data())
def test_attempts_are_bounded_in_number_and_time(
    plan: Plan, script: list[Ending], data: st.DataObject
) -> None:
    run = Run(plan).follow(script)

    renewals = len({spec.name for spec in plan.specs})
    assert len(run.attempts) <= (plan.retries.attempts_max or ATTEMPTS_MAX) + renewals
    for before, wait in zip(run.failures, run.waits[1:], strict=False):
        assert wait >= 0
        assert wait == 0 or before.elapsed_seconds + wait < plan.retries.total_seconds
    for failure in run.failures[: len(run.attempts) - 1]:
        assert failure.may_repeat or failure.cause in plan.retries.causes


@given(plans(), st.lists(endings, min_size=1, max_size=14))
def test_a_server_serves_only_its_own_models(plan: Plan, script: list[Ending]) -> None:
    run = Run(plan).follow(script)

    by_name = {spec.name: spec for spec in plan.specs}
    assert all(by_name[upstream].serves(served) for _, served, upstream in run.attempts)
    assert all(asked in plan.models for asked, _, _ in run.attempts)


@given(plans(), st.lists(endings, min_size=2, max_size=6))
def test_a_server_that_asked_for_time_is_given_it(plan: Plan, script: list[Ending]) -> None:
    patient = Retries(ATTEMPTS_MAX, 3600.0, causes=tuple(Cause))
    endings = [Ending(one.cause, 1.0, one.retry_after_seconds) for one in script]
    run = Run(Plan(plan.models, plan.specs, patient)).follow(endings)

    free_from: dict[tuple[str, str], float] = {}
    started = 0.0
    for (_, served, upstream), wait, failure in zip(
        run.attempts, run.waits, run.failures, strict=True
    ):
        started += wait
        assert started >= free_from.get((served, upstream), 0.0) - 1e-6
        started = failure.elapsed_seconds
        free_from[served, upstream] = started + (failure.retry_after_seconds or 0.0)


@given(plans(), st.sampled_from(RETRIED))
def test_every_place_is_tried_once_before_any_comes_again(plan: Plan, cause: Cause) -> None:
    patient = Retries(ATTEMPTS_MAX, total_seconds=3600.0)
    run = Run(Plan(plan.models, plan.specs, patient)).follow([Ending(cause)] * ATTEMPTS_MAX)

    places = [(served, upstream) for _, served, upstream in run.attempts]
    count = len({(m, s.name) for m in plan.models for s in serving(plan.specs, m)})
    assert len(places) == ATTEMPTS_MAX
    assert len(set(places[:count])) == count
    assert places[0] == (plan.models[0], serving(plan.specs, plan.models[0])[0].name)
    assert all(wait == 0 for wait in run.waits[:count])
    assert all(wait > 0 for wait in run.waits[count:])


@given(plans(), st.sampled_from(RETRIED))
def test_without_a_number_each_place_is_tried_once(plan: Plan, cause: Cause) -> None:
    run = Run(Plan(plan.models, plan.specs)).follow([Ending(cause)] * ATTEMPTS_MAX)

    places = {(m, s.name) for m in plan.models for s in serving(plan.specs, m)}
    assert len(run.attempts) == len(places)
    assert {(served, upstream) for _, served, upstream in run.attempts} == places


def test_the_wait_doubles_and_is_spread() -> None:
    plan = Plan(("big",), (UpstreamSpec("a"),), Retries(4, backoff_seconds=1.0))
    waits: list[float] = []
    for spread in (0.0, 0.0, 1.0):
        attempt = next_attempt(plan, Failure("big", "big", "a", Cause.CONNECT), spread=spread)
        assert attempt is not None
        waits.append(attempt.wait_seconds)
        plan = attempt.plan

    assert waits == [1.0, 2.0, 6.0]
    assert next_attempt(plan, Failure("big", "big", "a", Cause.CONNECT)) is None


def test_a_renewed_key_is_worth_one_more_try_whatever_the_policy() -> None:
    plan = Plan(("big",), (UpstreamSpec("a"),), Retries(1, causes=()))
    failure = Failure("big", "big", "a", None, may_repeat=True)

    again = next_attempt(plan, failure)

    assert again is not None
    assert (again.model, again.wait_seconds) == ("big", 0.0)
    assert next_attempt(again.plan, failure) is None


def test_a_server_that_denies_a_model_is_not_asked_for_it_again() -> None:
    retries = Retries(5, causes=(Cause.DENIED, Cause.CONNECT))
    plan = Plan(("big",), (UpstreamSpec("a"), UpstreamSpec("b")), retries)

    second = next_attempt(plan, Failure("big", "big", "a", Cause.DENIED))
    assert second is not None
    third = next_attempt(second.plan, Failure("big", "big", "b", Cause.CONNECT))
    assert third is not None
    last = next_attempt(third.plan, Failure("big", "big", "b", Cause.DENIED))

    assert [one.plan.upstream_for("big") for one in (second, third)] == [UpstreamSpec("b")] * 2
    assert last is None


def test_a_stepped_down_call_moves_on_along_the_servers_of_what_served_it() -> None:
    specs = (UpstreamSpec("a"), UpstreamSpec("b", models=("small",)))
    plan = Plan(("big", "mid"), specs)

    second = next_attempt(plan, Failure("big", "small", "a", Cause.SERVER_ERROR))
    assert second is not None
    assert second.model == "big"
    assert second.plan.upstream_for("small") == specs[1]
    third = next_attempt(second.plan, Failure("big", "small", "b", Cause.SERVER_ERROR))

    assert third is not None
    assert third.model == "mid"
