"""What every test shares: how hypothesis runs here."""

from hypothesis import HealthCheck, settings

# Two shared cores make single examples slow at random, so that a deadline would fail by chance.
settings.register_profile(
    "spendgate", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("spendgate")
