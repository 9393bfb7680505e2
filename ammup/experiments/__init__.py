"""How much of it is run, and where it is kept."""
