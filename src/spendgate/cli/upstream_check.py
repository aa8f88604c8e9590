"""Can this machine reach a model server of the policy, with its key?"""

import httpx

from spendgate.adapters.model_server import limits_of, named_server
from spendgate.config import Settings
from spendgate.domain.upstream import UpstreamKind, UpstreamSpec
from spendgate.errors import CredentialsError, HostError


def check_server(spec: UpstreamSpec, settings: Settings) -> tuple[bool, str]:
    """Say whether a server answers our key, and what it said; no model is called."""
    server = named_server(spec, limits_of(settings))
    try:
        key = server.credentials()
        base = server.base()
    except (CredentialsError, HostError) as error:
        return False, str(error)
    # A workspace has no list of models under this path; that it takes the token is what counts.
    path = "api/2.0/serving-endpoints" if spec.kind is UpstreamKind.DATABRICKS else "models"
    try:
        answer = httpx.get(f"{base}/{path}", headers=key, timeout=server.connect_seconds)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return False, f"{base}: {type(error).__name__}"
    if answer.status_code in {401, 403}:
        return False, f"{base} answers {answer.status_code}"
    return True, f"{base} answers"
