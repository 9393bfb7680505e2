"""A net described once, as data: what `ammup.models` builds and `ammup.theory` computes from. NumPy only."""
