"""Statistics without torch: power laws, equivalence tests, the optimum of a sweep, regret, adaptive search."""
