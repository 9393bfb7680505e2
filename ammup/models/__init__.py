"""Models: the families of the paper, initialization, depth units, and observation of any module."""
