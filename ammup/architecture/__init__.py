"""Descriptions of nets as data: `ammup.models` builds them, `ammup.theory` computes their laws. NumPy only."""
