"""Fits and intervals: power laws, equivalence tests, the optimum of a sweep, regret, search. NumPy only."""
