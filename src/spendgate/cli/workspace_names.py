"""What a deployment is called in a workspace: the names that the bundle's targets give.

A test resolves databricks.yml and compares, so that these stay the same.
"""

import re
from dataclasses import dataclass
from enum import StrEnum


class Target(StrEnum):
    """The bundle's targets."""

    DEV = "dev"
    PROD = "prod"


WAREHOUSE = "Serverless Starter Warehouse"
CREDENTIALS_SCOPE = "spendgate-credentials"
_APPLICATION_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Choices:
    """The bundle's variables as somebody gives them; None is the bundle's default."""

    target: Target = Target.DEV
    catalog: str = "main"
    schema: str = "spendgate"
    service_principal: str | None = None
    credentials_scope: str = CREDENTIALS_SCOPE
    warehouse_id: str | None = None
    ledger_url: str | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """One target's names for one user."""

    target: Target
    user: str
    catalog: str
    schema: str
    endpoint: str
    secret_scope: str
    credentials_scope: str
    service_principal: str
    warehouse_id: str | None
    ledger_url: str

    @property
    def tables(self) -> str:
        """Catalog and schema."""
        return f"{self.catalog}.{self.schema}"

    @property
    def deploy(self) -> str:
        """The command that makes what a deployment lacks."""
        flag = "" if self.target is Target.DEV else f" -t {self.target}"
        return f"`databricks bundle deploy{flag}`"

    @property
    def has_application_id(self) -> bool:
        """Whether the service principal is named as Databricks names one."""
        return _APPLICATION_ID.fullmatch(self.service_principal) is not None


def deployment_of(choices: Choices, user_name: str, user_id: str) -> Deployment:
    """Return the names that a deploy by this user makes."""
    short = re.sub(r"[^a-z0-9]+", "_", user_name.split("@", maxsplit=1)[0].lower()).strip("_")
    is_dev = choices.target is Target.DEV
    prefix = f"dev_{short}_" if is_dev else ""
    principal = choices.service_principal or user_name
    project = f"spendgate-dev-{user_id}" if is_dev else "spendgate-prod"
    lakebase = f"lakebase://projects/{project}/branches/production/endpoints/primary"
    return Deployment(
        target=choices.target,
        user=user_name,
        catalog=choices.catalog,
        schema=f"{prefix}{choices.schema}",
        endpoint=f"{prefix}spendgate",
        secret_scope=f"spendgate-dev-{short}" if is_dev else "spendgate-prod",
        credentials_scope=choices.credentials_scope,
        service_principal=principal,
        warehouse_id=choices.warehouse_id,
        ledger_url=choices.ledger_url or lakebase,
    )
