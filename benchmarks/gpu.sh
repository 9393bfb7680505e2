#!/usr/bin/env bash
# Test and measure the sweep kernel on the CUDA device of this machine, in less than 10 minutes: the equality tests, the
# table of a training step, and the cases of asv. The results are baselines/gpu/NAME.json and baselines/asv/NAME.
#
#     benchmarks/gpu.sh --machine NAME
#     benchmarks/gpu.sh --dry-run          # the same on the CPU, with tiny sizes; nothing is stored
#     python -m benchmarks.gpu_table       # the table of the stored records, in Markdown
set -euo pipefail
cd "$(dirname "$0")/.."
exec python -m benchmarks.gpu "$@"
