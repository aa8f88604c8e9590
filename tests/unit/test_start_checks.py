"""What stops a start: prices that aren't there would be wrong for every call."""

from pathlib import Path

import pytest

from spendgate.bootstrap import apply_policy, open_ledger
from spendgate.config import Settings
from spendgate.errors import PriceError


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"geo": "mars"}, "mars.*global, in_geo"), ({"price_overlays": ("nope",)}, "nope")],
)
def test_prices_that_do_not_exist_stop_the_start(
    tmp_path: Path, settings: dict[str, object], said: str
) -> None:
    made = Settings.model_validate({"home": tmp_path})
    ledger = open_ledger(made)
    apply_policy(made, ledger)
    wrong = Settings.model_validate({"home": tmp_path, **settings})

    with pytest.raises(PriceError, match=said):
        apply_policy(wrong, ledger)
    ledger.close()
