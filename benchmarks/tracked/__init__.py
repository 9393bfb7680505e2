"""The benchmarks that asv runs over commits: exponents, and the speed and memory of their computation.

asv runs these files with the ammup of earlier commits, so they use few of its functions, and no new ones. asv starts a
process for each benchmark and each parameter. Modules therefore import torch inside the functions that need it if most
of these processes do not.
"""

import os

# One thread in every process. This must be set before numpy and torch are imported.
os.environ.update({f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")})
