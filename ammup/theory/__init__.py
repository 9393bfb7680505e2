"""What the wide limit predicts: activations, positions, the finite-depth law, PathSum. NumPy only."""
