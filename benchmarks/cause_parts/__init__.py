"""The parts of benchmarks/causes.py: architectures, planted faults and their measurement."""
