"""What asv follows over commits: exponents, and the speed and memory of what computes them.

asv runs these files against the ammup of other commits, so they use little of it, and nothing that is new. Each
benchmark and each of its parameters is a process of its own, so modules import torch inside the functions that need it
wherever most of their processes do not.
"""

import os

# One thread in every process: set before numpy and torch are imported, which read these once.
os.environ.update({f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")})
