"""How the learning rate of your network must change with depth.

The public names are loaded on first use (PEP 562), so that ``import ammup`` does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ammup.data.dataset import Data as Data
    from ammup.data.dataset import load_data as load_data
    from ammup.errors import InputError as InputError
    from ammup.errors import UnreliableTransfer as UnreliableTransfer
    from ammup.experiments.experiment import Experiment as Experiment
    from ammup.experiments.files import read_experiments as read_experiments
    from ammup.experiments.reading import read_store as read_store
    from ammup.experiments.sweep import run_sweep as run_sweep
    from ammup.gate.check_result import DepthCheck as DepthCheck
    from ammup.gate.depth_check import Inconclusive as Inconclusive
    from ammup.gate.depth_check import Moved as Moved
    from ammup.gate.depth_check import assert_depth_exponent as assert_depth_exponent
    from ammup.gate.depth_check import check_depth_exponent as check_depth_exponent
    from ammup.measurement.depth_exponent import depth_exponent as depth_exponent
    from ammup.measurement.depth_law import DepthLaw as DepthLaw
    from ammup.measurement.edge_probe import EdgeCurve as EdgeCurve
    from ammup.measurement.edge_probe import probe_edges as probe_edges
    from ammup.measurement.finite_step import check_finite_step as check_finite_step
    from ammup.measurement.late import LateCurve as LateCurve
    from ammup.measurement.late import late_curve as late_curve
    from ammup.measurement.logger import UpdateLogger as UpdateLogger
    from ammup.measurement.moments import UpdateMoments as UpdateMoments
    from ammup.measurement.param_groups import param_groups as param_groups
    from ammup.measurement.param_groups import param_table as param_table
    from ammup.measurement.sharpness import Sharpness as Sharpness
    from ammup.measurement.sharpness import measure_sharpness as measure_sharpness
    from ammup.measurement.updates import maximal_lr as maximal_lr
    from ammup.measurement.updates import measure_updates as measure_updates
    from ammup.models.depth import depth_units as depth_units
    from ammup.models.depth import minimal_depth as minimal_depth
    from ammup.models.families import cnn as cnn
    from ammup.models.families import mlp as mlp
    from ammup.models.families import resnet as resnet
    from ammup.models.initialization import initialize_ as initialize_
    from ammup.stats.optimum import fit_sweep as fit_sweep
    from ammup.stats.power_law import PowerLaw as PowerLaw
    from ammup.stats.power_law import fit_power_law as fit_power_law
    from ammup.stats.regret import transfer_regret as transfer_regret
    from ammup.theory.finite_depth import finite_depth_law as finite_depth_law
    from ammup.theory.pathsum import pathsum_lr as pathsum_lr
    from ammup.training.replicas import train_replicas as train_replicas
    from ammup.training.runs import Run as Run
    from ammup.transfer.carry import transfer_lr as transfer_lr
    from ammup.transfer.carry import transfer_table as transfer_table
    from ammup.transfer.setting import TrainingSetting as TrainingSetting
    from ammup.tuning.answer import Tuned as Tuned
    from ammup.tuning.command import CommandTrainer as CommandTrainer
    from ammup.tuning.options import TuneBudget as TuneBudget
    from ammup.tuning.options import TuneOptions as TuneOptions
    from ammup.tuning.output_lines import LinePatterns as LinePatterns
    from ammup.tuning.progress import Progress as Progress
    from ammup.tuning.settings import RunSetting as RunSetting
    from ammup.tuning.tune import tune as tune

_HOME = {
    "InputError": "ammup.errors",
    "UnreliableTransfer": "ammup.errors",
    "Experiment": "ammup.experiments.experiment",
    "read_experiments": "ammup.experiments.files",
    "read_store": "ammup.experiments.reading",
    "run_sweep": "ammup.experiments.sweep",
    "fit_sweep": "ammup.stats.optimum",
    "pathsum_lr": "ammup.theory.pathsum",
    "PowerLaw": "ammup.stats.power_law",
    "fit_power_law": "ammup.stats.power_law",
    "transfer_regret": "ammup.stats.regret",
    "finite_depth_law": "ammup.theory.finite_depth",
    "transfer_lr": "ammup.transfer.carry",
    "transfer_table": "ammup.transfer.carry",
    "TrainingSetting": "ammup.transfer.setting",
    "tune": "ammup.tuning.tune",
    "Tuned": "ammup.tuning.answer",
    "Progress": "ammup.tuning.progress",
    "TuneBudget": "ammup.tuning.options",
    "TuneOptions": "ammup.tuning.options",
    "RunSetting": "ammup.tuning.settings",
    "CommandTrainer": "ammup.tuning.command",
    "LinePatterns": "ammup.tuning.output_lines",
    "Data": "ammup.data.dataset",
    "load_data": "ammup.data.dataset",
    "DepthLaw": "ammup.measurement.depth_law",
    "depth_exponent": "ammup.measurement.depth_exponent",
    "LateCurve": "ammup.measurement.late",
    "late_curve": "ammup.measurement.late",
    "EdgeCurve": "ammup.measurement.edge_probe",
    "probe_edges": "ammup.measurement.edge_probe",
    "UpdateLogger": "ammup.measurement.logger",
    "param_groups": "ammup.measurement.param_groups",
    "param_table": "ammup.measurement.param_groups",
    "Run": "ammup.training.runs",
    "train_replicas": "ammup.training.replicas",
    "UpdateMoments": "ammup.measurement.moments",
    "check_finite_step": "ammup.measurement.finite_step",
    "Sharpness": "ammup.measurement.sharpness",
    "measure_sharpness": "ammup.measurement.sharpness",
    "maximal_lr": "ammup.measurement.updates",
    "measure_updates": "ammup.measurement.updates",
    "depth_units": "ammup.models.depth",
    "minimal_depth": "ammup.models.depth",
    "cnn": "ammup.models.families",
    "mlp": "ammup.models.families",
    "resnet": "ammup.models.families",
    "initialize_": "ammup.models.initialization",
    "DepthCheck": "ammup.gate.check_result",
    "Inconclusive": "ammup.gate.depth_check",
    "Moved": "ammup.gate.depth_check",
    "assert_depth_exponent": "ammup.gate.depth_check",
    "check_depth_exponent": "ammup.gate.depth_check",
}

__version__ = "0.1.0"
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ammup' has no attribute {name!r}; public names: {', '.join(sorted(_HOME))}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value  # later accesses find the name there and do not call this function
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
