"""Settings of the property tests, for every suite under this folder."""

from hypothesis import settings

# The same cases on every run and machine; --hypothesis-profile=thorough looks further.
settings.register_profile(
    "repeatable", deadline=None, derandomize=True, max_examples=20, database=None
)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("repeatable")
