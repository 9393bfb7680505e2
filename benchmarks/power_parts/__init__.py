"""Faults in the code of ammup, and how often a claim detects each of them."""
