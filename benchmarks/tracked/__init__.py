"""What asv follows over commits: exponents, and the speed and memory of what computes them.

asv runs these files against the ammup of other commits, so that they use little of it, and nothing that is new.
"""
