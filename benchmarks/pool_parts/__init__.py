"""Pools of weight draws, and the calibration of intervals and error budgets on them."""
