"""The outputs of the commands on sweeps: sweep, fit and report."""

from pydantic import RootModel

from ammup.schemas.model import Line, Output, Real, key


class StatusRow(Output):
    """The cells of one depth."""

    depth: int = key("L")
    total: int = key("number of cells of the grid")
    done: int = key("number of finished cells")
    left_out: int = key("number of cells that an adaptive search did not train to the end")
    diverged: int = key("number of finished cells that diverged")
    best_lr: Real = key("best learning rate so far; null before the first cell that did not diverge")
    val_accuracy: Real = key("its validation accuracy, mean over the finished seeds")


class Status(RootModel[dict[str, list[StatusRow]]]):
    """`ammup sweep --json`, also with --status: experiment -> one row for each depth."""


class CostRow(Output):
    """The missing cells of one depth."""

    depth: int = key("L")
    cells: int = key("number of missing cells")
    flops: float = key("floating-point operations of all of them")
    seconds: float = key("seconds of one of them")


class DryRun(Output):
    """`ammup sweep --dry-run --json`, one object in one line for each experiment."""

    experiment: str = key("name of the experiment")
    depths: list[CostRow] = key("one row for each depth")
    flops: float = key("floating-point operations of all missing cells")
    hours: float = key("estimated wall-clock time in hours")
    minutes: float = key("the same in minutes")
    core_share: float = key("share of a core that was available to the estimate; below 1, other programs used it")
    workers: int = key("number of workers")


class Merge(Output):
    """`ammup sweep --merge --json`."""

    added: int = key("number of runs that were added")
    differ: int = key("number of runs that are in both stores with different values")


class LineRow(Output):
    """The fitted line at one depth."""

    depth: int = key("L")
    fitted: Real = key("learning rate of the line; null without a fit")
    low: Real = key("lower end of its confidence band")
    high: Real = key("upper end")


class OptimumRow(Output):
    """The optima of one depth. Standard errors are those of log10 of the learning rate."""

    depth: int = key("L")
    argmax: float = key("best grid point of each seed, averaged over seeds in log η")
    argmax_se: float = key("its standard error")
    smoothed: float = key("maximum of a parabola through all seeds near the best grid point")
    smoothed_se: float = key("its standard error")
    accuracy: float = key("mean validation accuracy at the best grid point")
    near: tuple[float, float] = key("lowest and highest learning rate that the parabola was fitted to")
    flags: list[str] = key("reasons why argmax and smoothed are unreliable")
    edge: float = key("learning rate above the best one at which accuracy falls below half of its rise above chance")
    edge_se: Real = key("its standard error; null with one seed")
    edge_flags: list[str] = key("reasons why the edge is unreliable")


class PredictionRow(Output):
    """The line through the anchors of a segment at another depth."""

    depth: int = key("L")
    predicted: float = key("learning rate of the line")
    measured: Real = key("optimum of the sweep; null if there is none")
    log10_error: Real = key("log10 of predicted / measured")


class SegmentFit(Output):
    """A segment of the experiment."""

    anchors: list[int] = key("depths that the line is fitted to")
    predict: list[int] = key("depths that it predicts")
    predictions: list[PredictionRow] | None = key("one row for each of them; null if an anchor has no optimum")


class RegretRow(Output):
    """What one rule loses at one depth."""

    rule: str = key("name of the rule")
    depth: int = key("L")
    predicted: Real = key("learning rate of the rule")
    swept: Real = key("optimum of the sweep")
    log10_error: Real = key("log10 of predicted / swept")
    accuracy_lost: Real = key("accuracy lost, relative to the best accuracy of the grid")
    accuracy_low: Real = key("lower end of its confidence interval")
    accuracy_high: Real = key("upper end")
    loss_added: Real = key("validation loss added, in nats")
    loss_low: Real = key("lower end of its confidence interval")
    loss_high: Real = key("upper end")
    held_out_accuracy: Real = key("accuracy at the predicted learning rate on held-out seeds")
    held_out: Real = key("accuracy lost on held-out seeds, relative")
    held_out_low: Real = key("lower end of its confidence interval")
    held_out_high: Real = key("upper end")
    off_by_two: Real = key("the same if the prediction is wrong by a factor of two")


class Fit(Line):
    """`ammup fit --json`. The keys of the line are null if fewer than two optima can be used."""

    experiment: str = key("name of the experiment")
    missing: int = key("number of cells of the grid without a run")
    optimum: str = key("smoothed, argmax or edge: the optimum that the line is fitted to")
    chance: float = key("accuracy of a random guess, which defines the edges")
    used: list[int] = key("depths that the line is fitted to")
    line: list[LineRow] = key("the line and its band, one row for each depth")
    optima: list[OptimumRow] = key("one row for each depth")
    segments: list[SegmentFit] = key("segments of the experiment")
    transfer: list[RegretRow] | None = key("one row for each rule and depth; only with --transfer", default=None)


class Report(Output):
    """`ammup report --json`."""

    written: str = key("path of the page")
    bytes: int = key("its size")
