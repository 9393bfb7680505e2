"""Parts of the benchmark ``benchmarks/zoo.py``: models, an independent oracle, and the comparison of the two."""
