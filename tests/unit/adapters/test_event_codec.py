"""What a ledger stores of a call reads back as it was written."""

from hypothesis import example, given
from hypothesis import strategies as st

from spendgate.adapters.event_codec import decode_charge, encode_charge
from spendgate.domain.event import AdjustmentNote, Charge

texts = st.text(max_size=20)


@given(texts, texts)
@example("olga", "half of a pair: \udcff")
def test_a_reason_of_any_characters_is_kept(actor: str, reason: str) -> None:
    charge = Charge(cost_nano=5, note=AdjustmentNote("a-1", actor, reason))

    assert decode_charge(encode_charge(charge)) == charge


@given(texts)
@example("two\nlines")
def test_a_charge_is_one_line(reason: str) -> None:
    written = encode_charge(Charge(note=AdjustmentNote("a-1", "olga", reason)))

    assert "\n" not in written
