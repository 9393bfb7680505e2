"""Candidates that `benchmarks/edge_definitions.py` compares."""
