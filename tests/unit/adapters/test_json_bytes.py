"""JSON that goes over the wire reads back as what was written."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from spendgate.adapters.json_bytes import json_bytes

documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(documents)
@example({"half of a pair": "\ud800", "whole": "\U0001f600"})
@example([1e-7, 5e-324, 1e300, 10**40, -0.0, 400.0])
def test_a_document_reads_back_as_it_was_written(document: object) -> None:
    written = json_bytes(document)

    # A number that was whole stays so, which == alone doesn't see.
    assert repr(json.loads(written)) == repr(document)


def test_there_are_no_spaces() -> None:
    assert json_bytes({"a": [1, "b c"]}) == b'{"a":[1,"b c"]}'
