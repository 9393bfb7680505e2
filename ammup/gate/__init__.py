"""Checks of users' models in CI: the depth exponent, its baseline, the pytest plugin."""
