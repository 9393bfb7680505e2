"""Parts of the benchmark ``benchmarks/zoo.py``: models, an independent oracle, and their comparison with ammup."""
