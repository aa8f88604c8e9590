"""A notifier takes the kinds of alerts that it names, or all."""

from spendgate.domain.notifier import NotifierSpec


def test_a_notifier_takes_what_it_names_and_without_names_everything() -> None:
    assert NotifierSpec("a", "env:A").takes("threshold")
    assert NotifierSpec("a", "env:A", alerts=("raised",)).takes("raised")
    assert not NotifierSpec("a", "env:A", alerts=("raised",)).takes("threshold")
