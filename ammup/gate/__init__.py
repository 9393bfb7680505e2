"""A user's own models in CI: the check, its baseline, the pytest plugin."""
