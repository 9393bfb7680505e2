"""Parts of `benchmarks/rule_regret.py`."""
