"""For every test: hypothesis draws the same examples on every run, and never judges by the clock."""

from hypothesis import settings

settings.register_profile("metfa", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("metfa")
