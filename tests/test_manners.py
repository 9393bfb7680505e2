"""The library in somebody else's process: nothing global is changed, and nothing is put on a module of the user's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import ammup
from ammup.errors import InputError
from ammup.experiments.experiment import Experiment
from ammup.experiments.pool import LocalPool
from ammup.experiments.sweep import run_sweep
from ammup.models.factory import family_factory
from ammup.training import allocator as memory

# What the process of a caller has, and every way of using the library that could change it. Run in a separate process,
# since pytest and the type checks of the tests change much of it themselves.
PROBE = '''
import json, locale, logging, multiprocessing, os, random, signal, sys, tempfile, threading, warnings
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch

def state():
    return {
        "sys.path": list(sys.path),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "signals": [str(signal.getsignal(s)) for s in signal.valid_signals()],
        "warnings": [str(f) for f in warnings.filters],
        "logging": [str(logging.root.handlers), logging.root.level, logging.root.manager.disable],
        # Asking rcParams for the backend would choose one.
        "matplotlib": {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != "backend"},
        "backend": matplotlib.get_backend(auto_select=False),
        "pyplot": "matplotlib.pyplot" in sys.modules,
        "locale": locale.setlocale(locale.LC_ALL),
        "random": [repr(random.getstate()), repr(np.random.get_state()), torch.get_rng_state().tolist()],
        "torch": [
            str(torch.get_default_dtype()), str(torch.get_default_device()), torch.get_num_threads(),
            torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.are_deterministic_algorithms_enabled(),
            torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic,
            torch.backends.mha.get_fastpath_enabled(), torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.cuda.math_sdp_enabled(), torch.is_autocast_enabled("cpu"),
            torch._C._len_torch_function_stack(),
        ],
        "numpy": [repr(np.geterr()), repr(np.get_printoptions())],
        "pandas": [pd.get_option(name) for name in ("display.max_rows", "display.width", "compute.use_numexpr")],
        "hooks": [str(sys.excepthook), str(threading.excepthook), str(sys.displayhook), sys.getrecursionlimit()],
        "threads": [t.name for t in threading.enumerate()],
        "start method": multiprocessing.get_start_method(allow_none=True),
        "streams": [str(sys.stdout), str(sys.stderr)],
    }

def use(workers):
    import ammup
    from ammup.report.plots import plot_depth_law, save
    images, labels = ammup.load_data("synthetic", image_size=8, train=64, validation=16).batch(4)
    net = ammup.resnet(2, width=4, batchnorm=True, dropout=0.1)
    ammup.measure_updates(net, images, labels, loss="cross_entropy")
    ammup.check_finite_step(net, images, labels, lr=1e-3, loss="cross_entropy")
    ammup.depth_units(net, images), ammup.param_groups(net, 0.1, rule="per-unit", inputs=images)
    ammup.initialize_(ammup.cnn(2, width=4), seed=0)
    small = lambda depth, seed: ammup.cnn(depth, width=4, seed=seed)
    law = ammup.depth_exponent(small, [2, 4], inputs=images, targets=labels, loss="cross_entropy", seeds=3)
    law.to_dict()
    ammup.check_depth_exponent(small, [2, 4], inputs=images, expected=0.0, margin=100.0, seeds=3)
    ammup.transfer_table(0.1, 2, 4, measured=law)
    ammup.UpdateLogger(net, every=1, loss="cross_entropy")(0, images, labels)
    data = ammup.load_data("synthetic", image_size=8, train=64, validation=16)
    for strategy in ("loop", "stacked"):
        options = {"data": data, "batch_size": 16, "strategy": strategy, "device": "cpu"}
        ammup.train_replicas(small, 2, lrs=[0.1, 1.0], seeds=2, **options)
    experiment = ammup.Experiment.from_toml(EXPERIMENT)
    with tempfile.TemporaryDirectory() as folder:
        ammup.run_sweep(experiment, store=Path(folder) / "runs.db", workers=workers, progress=False)
        save(plot_depth_law(law, title="law"), Path(folder) / "law.png")
    try:
        ammup.measure_updates(net, images[:, :1], labels, loss="mse")
    except ammup.InputError:
        pass

EXPERIMENT = """
name = "manners"
model = {factory = "cnn", arguments = {width = 4}}
data = {source = "synthetic", image_size = 8, train = 64, validation = 16}
grid = {depths = [2, 3], lrs = [0.1, 1.0], seeds = 1}
training = {batch_size = 16}
strategy = "loop"
"""

if __name__ == "__main__":
    use(1)  # the first use imports torch and matplotlib, which change global settings on import
    before = state()
    use(1)
    use(2)
    after = state()
    changed = {name: [before[name], after[name]] for name in before if before[name] != after[name]}
    print(json.dumps(changed, default=str))
'''


@pytest.mark.slow
def test_the_library_changes_nothing_of_its_process(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROBE)
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, cwd=tmp_path, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["program.py"]


def test_importing_changes_nothing_but_what_torch_does() -> None:
    code = """
import os, signal, sys, warnings, logging
def state():
    return (list(sys.path), dict(os.environ), [str(signal.getsignal(s)) for s in signal.valid_signals()],
            list(warnings.filters), list(logging.root.handlers), sys.excepthook)
before = state()
import ammup, ammup.gate.pytest_plugin, ammup.cli
assert state() == before
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


EXPERIMENT = """
name = "manners"
model = {factory = "cnn", arguments = {width = 4}}
data = {source = "synthetic", image_size = 8, train = 64, validation = 16}
grid = {depths = [2], lrs = [0.1], seeds = 1}
training = {batch_size = 16}
strategy = "loop"
"""


def test_only_workers_set_the_allocator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """glibc cannot say what it was set to before, so the process of a caller must never be set."""
    called: list[object] = []
    monkeypatch.setattr(memory, "_set", lambda *arguments: called.append(arguments))
    experiment = Experiment.from_toml(EXPERIMENT)
    run_sweep(experiment, store=tmp_path / "one.db", workers=1, progress=False)
    data = ammup.load_data("synthetic", image_size=8, train=64, validation=16)
    ammup.train_replicas(lambda depth: ammup.cnn(depth, width=4), 2, lrs=[0.1], seeds=1, data=data, device="cpu")
    assert not called


def _probed() -> float:
    """Page faults of a block of 64 MiB that is allocated again and again."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.empty(64 << 20, dtype=torch.uint8).fill_(1)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 5


@pytest.mark.skipif(memory._glibc() is None, reason="not glibc")
def test_a_worker_sets_it() -> None:
    pool = LocalPool(1)
    try:
        pool.submit(_probed).result(timeout=120)
        faults = pool.submit(_probed).result(timeout=120)
    finally:
        pool.kill()
    assert faults < 0.1 * _probed()


def test_a_factory_is_looked_for_on_sys_path_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line adds the current folder, as `python -m` does; the library does not."""
    (tmp_path / "mannered.py").write_text("import ammup\nmake = ammup.cnn\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    with pytest.raises(InputError, match=r"'mannered:make' cannot be imported.*No module named 'mannered'"):
        family_factory("mannered:make")
    assert sys.path == before
    command = [Path(sys.executable).with_name("ammup"), "depth", "mannered:make", "--depths", "2"]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "units at depth 2" in done.stdout


class _Lawful(nn.Module):
    """A user's net with attributes of the names that our own nets use."""

    def __init__(self) -> None:
        super().__init__()
        self.law, self.dims = "mine", "mine"
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x).relu()
        return x


def test_no_attribute_of_ours_is_put_on_a_users_module() -> None:
    net = _Lawful()
    before = [set(vars(module)) for module in net.modules()]
    ammup.initialize_(net, seed=0)
    ammup.measure_updates(net, torch.ones(2, 4))
    ammup.param_groups(net, 0.1, rule="per-unit", inputs=torch.ones(2, 4), loss="mse")
    assert [set(vars(module)) for module in net.modules()] == before
    assert net.law == "mine"


def test_python_s_random_numbers_are_left_alone() -> None:
    """Outside of pytest, whose type checks draw from the same generator."""
    code = """
import random, ammup, torch
from torch import nn
class Drops(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 3)
    def forward(self, x):
        return self.b(self.a(x) * (random.random() < 0.5))
net, x = Drops(), torch.ones(2, 4)
random.seed(3)
before = random.getstate()
ammup.depth_units(net, x), ammup.minimal_depth(net, x), ammup.initialize_(ammup.mlp(2, width=4), seed=0)
for seed in range(4):
    try:
        ammup.measure_updates(net, x, seed=seed, units=["a"])
    except ammup.InputError as error:
        assert "moves no depth unit" in str(error) or "gradient" in str(error), error
assert random.getstate() == before
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
