"""Learning-rate sweeps: their definition, how they are run, and how their results are stored."""
