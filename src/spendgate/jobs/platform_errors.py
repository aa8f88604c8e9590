"""What Spark and Delta say when a table or a right is missing, with the way out."""

import re

_SETUP = "run the job setup, or create what it names"
_GRANT = "grant what it names to the job's identity; the runbook lists what it needs"
_REBUILD = "events that the checkpoint points to are gone; run aggregate with --rebuild"

_WAYS_OUT = {
    "INSUFFICIENT_PERMISSIONS": _GRANT,
    "PERMISSION_DENIED": _GRANT,
    "UNAUTHORIZED_ACCESS": _GRANT,
    "TABLE_OR_VIEW_NOT_FOUND": _SETUP,
    "SCHEMA_NOT_FOUND": _SETUP,
    "NO_SUCH_CATALOG_EXCEPTION": _SETUP,
    "DELTA_TABLE_NOT_FOUND": _SETUP,
    "DIFFERENT_DELTA_TABLE_READ_BY_STREAMING_SOURCE": _REBUILD,
    "DELTA_LOG_FILE_NOT_FOUND_FOR_STREAMING_SOURCE": _REBUILD,
    "DELTA_VERSION_NOT_FOUND": _REBUILD,
}
_CONDITION = re.compile(rf"\[({'|'.join(_WAYS_OUT)})[\]._]?[^\n]*")
_CHARACTERS_MAX = 400


def explained(error: Exception) -> str | None:
    """Return what is missing and the way out; None for any other failure.

    A failure inside a stream arrives wrapped, so that only its text says what it was.
    """
    found = _CONDITION.search(str(error))
    if found is None:
        return None
    return f"{found[0][:_CHARACTERS_MAX].strip()}; {_WAYS_OUT[found[1]]}"
