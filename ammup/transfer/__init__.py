"""Rules that carry a learning rate to another depth, and what each assumes."""
