"""Settings of the property tests."""

from hypothesis import settings

# A shared machine stalls now and then, and how long an example takes is not what is proved here.
settings.register_profile("spendgate", deadline=None)
settings.load_profile("spendgate")
