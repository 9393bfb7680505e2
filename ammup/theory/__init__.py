"""Predictions of the wide limit and of PathSum: activations, positions, the finite-depth law. No torch."""
