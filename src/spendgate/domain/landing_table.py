"""The table that events are streamed into as they happen, ahead of their delivery."""

from spendgate.domain.table import STRING, TIMESTAMP, Table, required

SPEND_LANDING = Table(
    name="spend_landing",
    comment="Events as hosts stream them, seconds old; rows may repeat, and the drain job has all",
    key=(),
    columns=(
        required("event_id", STRING, "Key of the event: hold_id:sequence"),
        required("occurred_at", TIMESTAMP, "When the money was reserved"),
        required("recorded_at", TIMESTAMP, "When the ledger wrote the event"),
        # As text, because the stream's service knows no schema evolution.
        required("body", STRING, "The event's row of spend_events, as JSON"),
    ),
)
