"""Large examples of all results, and the words that their repr must contain."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from depth_curves import check_of, law_of
from stores import RUN
from swept import swept_runs
from torch.nn import functional as F
from tuning_runs import run_at

import ammup
from ammup.experiments.record import SweepRecord
from ammup.measurement.edge_probe import EdgeCurve
from ammup.measurement.finite_step import FiniteStep
from ammup.measurement.late import LateCurve
from ammup.measurement.moments import UpdateMoments
from ammup.measurement.specification import MeasurementSpec
from ammup.stats.equivalence import Region
from ammup.training.replica import TrainedReplica
from ammup.transfer.measured_curve import MeasuredCurve
from ammup.tuning.conclusion import conclude
from ammup.tuning.evidence import Evidence
from ammup.tuning.options import TuneOptions
from ammup.tuning.plan import Plan
from ammup.tuning.prediction import predict
from ammup.tuning.settings import RunSetting, SettingChange

DEPTHS = range(2, 42)
CURVE = {depth: 2.0 * depth**-1.5 for depth in DEPTHS}
RUNS = pd.concat([swept_runs(depth, top=CURVE[depth]) for depth in DEPTHS]).assign(val_loss=1.0)
EXPERIMENT = ammup.read_experiments("cnn-relu-cifar10", changes=["grid.depths=[3, 4, 6]"])[0]


def _moments() -> UpdateMoments:
    names = tuple(f"blocks.{n}" for n in range(500))
    squares = dict.fromkeys((f"{name}.weight" for name in names), 1.0)
    return UpdateMoments(units=names, S=np.linspace(1, 7, 500), S_bar_se=0.0, gradient_squares=squares, error=1e-7)


def _tuned() -> ammup.Tuned:
    options = TuneOptions(progress=False)
    plan = Plan(depths=(2,), target=8, steps=20, probe_steps=10, lr=0.1, probes=3, options=options)
    evidence = Evidence(runs=tuple(run_at(lr, 1.0) for lr in (0.1, 0.2, 0.05) * 20), probe_steps=10)
    setting = RunSetting()
    prediction = predict(2, 8, edges={}, setting=setting)
    return conclude(plan, evidence, prediction, change=SettingChange(), settings=(setting, setting), notes=())


def _logger() -> ammup.UpdateLogger:
    logger = ammup.UpdateLogger(ammup.mlp(2, width=4, in_features=3), every=5, loss="mse")
    for step in range(11):
        logger(step, torch.ones(2, 3))
    return logger


def _data() -> ammup.Data:
    return ammup.load_data("synthetic", image_size=8, train=200, validation=40)


OBJECTS: dict[str, tuple[Callable[[], object], list[str]]] = {
    "Data": (_data, ["train 200, val 40", "images of 8×8×3", "classes=10"]),
    "UpdateMoments": (_moments, ["500 units", "S=[1 … 7, 500 items]", "S_bar=4", "lr_star=0.5", "error=1e-07"]),
    "DepthLaw": (lambda: law_of(CURVE), ["depths 2 … 41 (40)", "40 weight draws", "slope=-1.5", "slope_ci=(-1.5"]),
    "DepthCheck": (lambda: check_of(law_of(CURVE), Region.around(-1.5, 0.1)), ["'holds'", "allowed=(-1.6, -1.4)"]),
    "PowerLaw": (lambda: ammup.fit_power_law([2, 4, 8], [1, 0.5, 0.3]), ["slope=-0.8", "level=0.95", "r2=0.99"]),
    "Run": (lambda: RUN, ["depth=3", "lr=0.1", "val_accuracy=0.25", "diverged=False"]),
    "Experiment": (
        lambda: EXPERIMENT,
        ["'cnn-relu-cifar10'", "cnn on cifar10", "depths 3, 4, 6", "lrs 0.0001 … 10 (40)", "3 seeds", "'width': 64"],
    ),
    "UpdateLogger": (_logger, ["3 steps logged", "every=5", "loss='mse'"]),
    "LateCurve": (
        lambda: LateCurve(
            table=pd.DataFrame(
                {"depth": list(CURVE), "seed": 0, "step": 5, "S_bar": [lr**-2 for lr in CURVE.values()]}
            ),
            lr=0.1,
        ),
        ["depths 2 … 41 (40)", "lr_star=[0.7071 … 0.007618, 40 items]", "short_runs_at=0.1"],
    ),
    "EdgeCurve": (
        lambda: EdgeCurve(
            table=pd.DataFrame(
                [
                    {"depth": depth, "seed": 0, "lr": lr * factor, "loss": loss, "steps": 9, "diverged": False}
                    for depth, lr in CURVE.items()
                    for factor, loss in ((0.1, 2.0), (0.5, 1.0), (1.0, 1.5), (10.0, 2.3))
                ]
            ),
            chance=dict.fromkeys(CURVE, 2.0),
            steps=9,
        ),
        ["depths 2 … 41 (40)", "edges=[0.7071 … 0.007618, 40 items]", "steps=9"],
    ),
    "Sharpness": (
        lambda: ammup.measure_sharpness(ammup.mlp(2, width=4, in_features=3), torch.ones(2, 3), loss="mse"),
        ["(0.13089 ±", "edge=15.28", "passes="],
    ),
    "TrainingSetting": (lambda: ammup.TrainingSetting(momentum=0.9, optimizer="sgd"), ["momentum=0.9", "'sgd'"]),
    "Progress": (lambda: ammup.Progress(3, 0.5), ["step=3", "loss=0.5"]),
    "TuneBudget": (lambda: ammup.TuneBudget(probes=5), ["probes=5"]),
    "TuneOptions": (lambda: ammup.TuneOptions(), ["seeds=3", "time_limit=600.0"]),
    "RunSetting": (lambda: ammup.RunSetting(batch_size=128), ["batch_size=128"]),
    "LinePatterns": (lambda: ammup.LinePatterns(loss="(?P<loss>.*)"), ["(?P<loss>.*)"]),
    "CommandTrainer": (lambda: ammup.CommandTrainer(words=("train", "{depth}", "{lr}")), ["'train'"]),
    "Tuned": (_tuned, ["depth=8", "lr=0.025", "interval=(", "probes=0"]),
    "SweepLaw": (lambda: ammup.fit_sweep(RUNS), ["depths 2 … 41 (40)", "kind='smoothed'", "slope=-1.5"]),
    "Regret": (
        lambda: ammup.transfer_regret(RUNS, {"good": CURVE, "bad": dict.fromkeys(CURVE, 1.0)}, base=2),
        ["best='good'", "depths 3 … 41 (39)"],
    ),
    "FiniteStep": (
        lambda: FiniteStep(units=("a",) * 500, lr=0.1, first_order=np.ones(500), true=np.linspace(1, 1.25, 500)),
        ["500 units", "lr=0.1", "largest_gap=0.25"],
    ),
    "MeasurementSpec": (
        lambda: MeasurementSpec(
            inputs=torch.ones(64, 3, 32, 32), targets=torch.zeros(64, dtype=torch.int64), loss=F.cross_entropy
        ),
        ["inputs=float32[64, 3, 32, 32]", "targets=int64[64]", "loss=cross_entropy"],
    ),
    "MeasuredCurve": (lambda: MeasuredCurve.of(CURVE), ["depths 2 … 41 (40)", "lr_star=[0.7071 … 0.007618, 40 items]"]),
    "SweepRecord": (
        lambda: SweepRecord(
            experiment=EXPERIMENT,
            runs=RUNS[:100],
            measurements=pd.DataFrame(),
            laws={},
            data_digest=None,
            provenance={},
        ),
        ["100 runs", "260 missing", "Experiment('cnn-relu-cifar10'"],
    ),
    "TrainedReplica": (
        lambda: TrainedReplica(
            weights={f"{n}": torch.ones(99) for n in range(9)},
            losses=torch.ones(5000),
            val_accuracy=0.5,
            val_loss=1.0,
            seconds=2.0,
        ),
        ["<9 items>", "losses=float32[5000]", "val_accuracy=0.5"],
    ),
}
