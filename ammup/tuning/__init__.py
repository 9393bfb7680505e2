"""The learning rate of a deep net for a user's own training: runs, probes at the target depth, the answer."""
