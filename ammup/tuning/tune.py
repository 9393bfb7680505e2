"""`tune`: the learning rate for a deep net and a user's own training, from runs of a shallow net and few probes."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ammup.errors import InputError, checked_integer
from ammup.measurement.depth_law import DepthLaw
from ammup.stats.depths import checked_depths
from ammup.tuning.answer import Tuned
from ammup.tuning.attempt import Limits
from ammup.tuning.conclusion import conclude
from ammup.tuning.evidence import Evidence
from ammup.tuning.function import FunctionTrainer
from ammup.tuning.options import TuneBudget, TuneOptions
from ammup.tuning.plan import BASE_STAGES, Plan, base_edge
from ammup.tuning.prediction import Prediction, predict
from ammup.tuning.progress import Progress, RunRequest
from ammup.tuning.runner import Runner, display, running_pool
from ammup.tuning.session import Trainer
from ammup.tuning.settings import RunSetting, SettingChange, setting_change
from ammup.tuning.stored_runs import StoredRuns
from ammup.tuning.target import probes

PROBE_SHARE = 0.5  # of a complete run
Train = Callable[..., Iterator[Progress]]


def tune(
    train: Train | Trainer,
    *,
    depths: int | Sequence[int],
    target: int,
    steps: int,
    store: Path | str,
    lr: float | None = None,
    measured: DepthLaw | Sequence[DepthLaw] = (),
    settings: tuple[RunSetting, RunSetting] | None = None,
    budget: TuneBudget | None = None,
    options: TuneOptions | None = None,
) -> Tuned:
    """Find the learning rate for a deep net from trainings of shallower ones and a few short runs at its depth.

    The rate tuned at the base depth is multiplied by the ratio of the edges of both depths: the largest learning rates
    that train, compared after the same number of steps. The edge at the target is predicted first, and then found by
    noisy bisection with probes. Each run is stored when it ends; after a crash, a kill or Ctrl-C, the same call
    continues. docs/tune.md explains each number.

    Args:
        train: ``train(depth, lr, seed, budget)``, which yields :class:`ammup.Progress` every few steps. It is called by
            name, in a process of its own, and closed to end a run early. ``budget`` is ``steps``, the length of a
            complete run, also in short runs. If it has an argument ``state``, it receives a folder from which it may
            resume. Or a :class:`ammup.CommandTrainer`.
        depths: the base depth, or several; the tuned learning rate belongs to the largest one.
        target: the depth that a learning rate is wanted for.
        steps: steps of a complete run, in the unit of :attr:`Progress.step`.
        store: path of the SQLite file with the runs; it is created if it does not exist.
        lr: the learning rate tuned at the base; None searches it.
        measured: laws of :func:`ammup.depth_exponent` at base and target, from which the ratio is predicted.
        settings: how base and target are trained; None states nothing.
        budget: what may be spent; None allows three probes.
        options: how runs are made; None uses the defaults of :class:`ammup.TuneOptions`.

    Returns:
        The learning rate with its interval, the edges, the cost, and what limits the trust in it.

    Raises:
        InputError: an argument is invalid, the store cannot be used, runs fail, no learning rate trains at the base, or
            the budget ends before the base is done.
    """
    options, budget = options or TuneOptions(), budget or TuneBudget()
    trainer = train if isinstance(train, Trainer) else FunctionTrainer(function=train, threads=_threads(options))
    plan = _plan(depths, target, steps, lr, budget, options)
    base, goal = settings or (RunSetting(), RunSetting())
    change = setting_change(base, goal)
    laws = (measured,) if isinstance(measured, DepthLaw) else tuple(measured)
    limits = Limits(time_limit=options.time_limit, probe_steps=plan.probe_steps)
    path = Path(store)
    with StoredRuns(path, name=trainer.name, identity=trainer.identity, budget=plan.steps) as stored:
        runner = Runner(trainer=trainer, stored=stored, limits=limits, options=options, states=Path(f"{path}.states"))
        tuning = _Tuning(plan=plan, budget=budget, runner=runner, settings=(base, goal), change=change, laws=laws)
        with running_pool(options) as pool, display(runner, show=options.progress):
            tuning.make_base_runs(lambda requests: runner.make(requests, pool))
            prediction = tuning.prediction()
            tuning.make_probes(prediction, lambda requests: runner.make(requests, pool))
        return conclude(
            plan, tuning.evidence(), prediction, change=change, settings=(base, goal), notes=tuple(tuning.notes)
        )


def _threads(options: TuneOptions) -> int | None:
    """Runs at the same time get one thread each; a single one uses torch's default."""
    return 1 if options.workers > 1 else None


def _plan(
    depths: int | Sequence[int],
    target: int,
    steps: int,
    lr: float | None,
    budget: TuneBudget,
    options: TuneOptions,
) -> Plan:
    base = tuple(sorted(checked_depths([depths] if isinstance(depths, int) else depths)))
    target = checked_integer("target", target, at_least=1)
    steps = checked_integer("steps", steps, at_least=2)
    if target in base:
        raise InputError(f"target={target} is one of the base depths {list(base)}; give a depth that is not tuned yet")
    if lr is not None and not 0 < lr < float("inf"):
        raise InputError(f"lr={lr}: expected the positive learning rate tuned at depth {base[-1]}")
    probe_steps = options.probe_steps or max(1, round(PROBE_SHARE * steps))
    if probe_steps > steps:
        raise InputError(f"probe_steps={probe_steps} exceeds the {steps} steps of a complete run; give fewer")
    return Plan(
        depths=base, target=target, steps=steps, probe_steps=probe_steps, lr=lr, probes=budget.probes, options=options
    )


Make = Callable[[Sequence[RunRequest]], None]


class _Tuning:
    """The stages of one tuning."""

    def __init__(
        self,
        *,
        plan: Plan,
        budget: TuneBudget,
        runner: Runner,
        settings: tuple[RunSetting, RunSetting],
        change: SettingChange,
        laws: Sequence[DepthLaw],
    ) -> None:
        self.plan, self.budget, self.runner = plan, budget, runner
        self.settings, self.change, self.laws = settings, change, laws
        self.notes: list[str] = []

    def evidence(self) -> Evidence:
        return Evidence(runs=self.runner.stored.runs(), probe_steps=self.plan.probe_steps)

    def make_base_runs(self, make: Make) -> None:
        """Make the runs at the base depths."""
        for stage in BASE_STAGES:
            while requests := stage(self.plan, self.evidence()):
                if not self._affordable(requests):
                    self.notes.append("the budget ended before the base depth was done, so its edge is less certain")
                    break
                make(requests)
        evidence = self.evidence()
        if not evidence.trained(self.plan.base):
            raise InputError(
                f"no learning rate trained at the base depth {self.plan.base} within {self.plan.probe_steps} steps; "
                "allow more steps or more runs, give the tuned rate, or correct the training"
            )

    def prediction(self) -> Prediction:
        """The prediction for the target, after the runs at the base."""
        evidence = self.evidence()
        edges = {depth: base_edge(self.plan, evidence, depth) for depth in self.plan.depths}
        return predict(
            self.plan.base,
            self.plan.target,
            measured=self.laws,
            edges={depth: (edge.mean, edge.sd) for depth, edge in edges.items()},
            setting=self.settings[1],
        ).changed(self.change)

    def make_probes(self, prediction: Prediction, make: Make) -> None:
        """Make the probes at the target."""
        while requests := probes(self.plan, self.evidence(), prediction):
            if not self._affordable(requests):
                self.notes.append("the budget ended before all probes were made")
                break
            make(requests)

    def _affordable(self, requests: Sequence[RunRequest]) -> bool:
        runs = self.evidence().runs
        if self.budget.runs is not None and len(runs) + len(requests) > self.budget.runs:
            return False
        spent = sum(run.steps for run in runs) + sum(request.until for request in requests)
        return self.budget.steps is None or spent <= self.budget.steps
