"""Compare the time to measure several weight draws in one call of vmap with that of measuring one after another.

Prints for each net the median seconds of both methods, their ratio, and the method that the library uses. Its rule
(`STACKED_WEIGHT` and `STACKED_UNIT` in ammup/measurement/jvp.py) was derived from this table. The methods alternate.

    python benchmarks/measurement_draws.py --rounds 5
"""

import argparse
import statistics
import time
from functools import partial

import torch

import ammup
from ammup.measurement import jvp
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.step import Step


def nets() -> list[tuple[str, partial, torch.Tensor]]:
    cells: list[tuple[str, partial, torch.Tensor]] = []
    for width, depth in ((32, 8), (64, 8), (128, 8), (128, 32), (256, 8), (256, 32), (512, 8), (1024, 8)):
        factory = partial(ammup.mlp, depth, width=width, in_features=width, out_features=width)
        cells.append((f"mlp n={width} L={depth}", factory, torch.randn(1, width)))
    for width, depth, side, batch in ((8, 8, 8, 8), (16, 8, 16, 8), (32, 8, 8, 8), (32, 8, 16, 32), (64, 8, 8, 8),
                                      (64, 8, 16, 32), (128, 8, 8, 8), (128, 8, 8, 32)):  # fmt: skip
        factory = partial(ammup.cnn, depth, width=width)
        cells.append((f"cnn C={width} L={depth} H={side} B={batch}", factory, torch.randn(batch, 3, side, side)))
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--draws", type=int, default=8)
    args = parser.parse_args()
    print(f"{args.draws} weight draws, 4 label draws, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'net':<28} {'weights':>9} {'each s':>8} {'stacked s':>10} {'each/stacked':>13}  used")
    for name, factory, inputs in nets():
        spec = MeasurementSpec(inputs=inputs, part="label")
        models = [factory(seed=seed) for seed in range(args.draws)]
        steps = [Step.from_model(model, spec) for model in models]
        seconds: dict[str, list[float]] = {"each": [], "stacked": []}
        for _ in range(args.rounds + 1):  # the first round warms up
            for method, measure in (("each", jvp.measure_each), ("stacked", jvp.measure_stacked)):
                start = time.perf_counter()
                measure(steps, range(args.draws))
                seconds[method].append(time.perf_counter() - start)
        each, stacked = (statistics.median(s[1:]) for s in seconds.values())
        weights = sum(p.numel() for p in models[0].parameters())
        used = "stacked" if jvp.stack_size(steps[0]) > 1 else "each"
        print(f"{name:<28} {weights:9d} {each:8.3f} {stacked:10.3f} {each / stacked:13.2f}  {used}")


if __name__ == "__main__":
    main()
