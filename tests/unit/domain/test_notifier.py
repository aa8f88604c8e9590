"""A notifier takes the kinds of alerts that it names, or all."""

from spendgate.domain.notifier import NotifierKind, NotifierSpec, taking


def test_a_notifier_takes_what_it_names_and_without_names_everything() -> None:
    assert NotifierSpec("a", "env:A").takes("threshold")
    assert NotifierSpec("a", "env:A", alerts=("raised",)).takes("raised")
    assert not NotifierSpec("a", "env:A", alerts=("raised",)).takes("threshold")
    assert not NotifierSpec("a", "env:A", NotifierKind.CHARGEBACK, "env:K").takes("raised")


def test_an_alert_goes_to_those_who_take_its_kind_each_once() -> None:
    notifiers = (NotifierSpec("all", "env:A"), NotifierSpec("raises", "env:B", alerts=("raised",)))

    assert taking(notifiers, ("all", "raises", "all"), "threshold") == ("all",)
    assert taking(notifiers, ("all", "raises"), "raised") == ("all", "raises")


def test_a_route_that_leads_nowhere_stays_to_be_seen() -> None:
    assert taking((), ("gone",), "threshold") == ("gone",)
