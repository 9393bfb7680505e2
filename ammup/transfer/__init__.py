"""Rules that carry a learning rate to another depth, with the assumption of each."""
