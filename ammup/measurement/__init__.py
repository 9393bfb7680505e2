"""Measurements of models: one gradient step, laws over depth, and tools for training with them."""
