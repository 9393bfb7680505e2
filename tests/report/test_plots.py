"""Figures: the data of their artists, and their files."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from PIL import Image

import ammup
from ammup import DepthLaw, InputError
from ammup.report import plots
from ammup.report.plots import plot_depth_law, plot_sweep, save
from ammup.stats.optimum import fit_sweep


@pytest.fixture(scope="module")
def law() -> DepthLaw:
    factory = partial(ammup.mlp, width=32, in_features=32, out_features=32, readout="he")
    return ammup.depth_exponent(factory, [2, 4, 8], inputs=torch.ones(1, 32), part="label", seeds=6)


def _line(axes, label: str) -> np.ndarray:
    (line,) = [line for line in axes.get_lines() if line.get_label().startswith(label)]
    return np.stack(line.get_data())


def test_left_panel_shows_measurement_fit_band_and_references(law: DepthLaw) -> None:
    axes, _ = plot_depth_law(law, title="title").axes
    (points,) = [c for c in axes.containers if isinstance(c, ErrorbarContainer)]
    data, _, (bars,) = points
    np.testing.assert_allclose(data.get_data(), [[2, 4, 8], law.curve["lr_star"]])
    se = law.curve["se_log10"].to_numpy()
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    np.testing.assert_allclose(
        np.log10(ends), np.log10(law.curve["lr_star"].to_numpy())[:, None] + [[-s, s] for s in se]
    )
    x, y = _line(axes, "fit: slope")
    np.testing.assert_allclose(y, law.power_law.predict(x))
    for label, slope in (("slope −3/2", -1.5), (f"slope {law.reference:.2f}", law.reference)):
        x, y = _line(axes, label)
        assert np.polyfit(np.log(x), np.log(y), 1)[0] == pytest.approx(slope)
    (band,) = axes.collections[1:] if axes.collections[0] is bars else axes.collections[:1]
    vertices = band.get_paths()[0].vertices
    assert vertices[:, 1].max() == pytest.approx(law.power_law.band(2)[1], rel=1e-6)
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_right_panel_shows_s_l_at_the_maximal_lr(law: DepthLaw) -> None:
    _, axes = plot_depth_law(law).axes
    for depth, S in law.S.items():
        x, y = _line(axes, f"L = {depth}")
        np.testing.assert_allclose(x, np.arange(1, depth + 1) / depth)
        np.testing.assert_allclose(y, S / S.mean())
        assert y.mean() == pytest.approx(1)


def test_one_seed_gives_a_figure_without_error_bars() -> None:
    law = ammup.depth_exponent(partial(ammup.mlp, width=8, in_features=8), [2, 4], inputs=torch.ones(1, 8), seeds=1)
    figure = plot_depth_law(law)
    assert figure.axes[0].get_legend() is not None


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_the_suffix_determines_the_format(law: DepthLaw, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"law.{suffix}"
    save(plot_depth_law(law, title="a title"), path)
    assert path.stat().st_size > 5000
    if suffix == "png":
        with Image.open(path) as image:
            assert image.size == (1500, 630)


def test_an_unknown_suffix_is_rejected(law: DepthLaw, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'law.txt'; expected one of: .*png"):
        save(plot_depth_law(law), tmp_path / "law.txt")


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    rows = []
    for depth in (2, 4, 8):
        for seed in (0, 1):
            for lr in np.geomspace(1e-3, 10, 25):
                accuracy = 0.5 - 0.1 * np.log10(lr * depth**1.5) ** 2 + 0.01 * seed
                lost = lr > (0.03 if depth == 8 else 5)
                rows.append({"depth": depth, "seed": seed, "lr": lr, "val_accuracy": accuracy, "diverged": lost})
    return pd.DataFrame(rows).assign(val_accuracy=lambda t: t["val_accuracy"].where(~t["diverged"]))


def test_sweep_panels_show_curves_optima_and_line(runs: pd.DataFrame) -> None:
    law = fit_sweep(runs)
    assert law.used == (2, 4)  # at depth 8 the optimum is cut off by divergence
    left, right = plot_sweep(law, runs, title="title").axes
    x, y = _line(left, "L = 4")
    kept = runs[(runs["depth"] == 4) & ~runs["diverged"]].groupby("lr")["val_accuracy"].mean()
    np.testing.assert_allclose(x, kept.index)
    np.testing.assert_allclose(y, kept)
    crosses = [line for line in left.get_lines() if line.get_marker() == "x"]
    assert [len(line.get_xdata()) for line in crosses] == [
        runs[(runs["depth"] == depth) & runs["diverged"]]["lr"].nunique() for depth in (2, 4, 8)
    ]
    bars = {c.get_label(): c[0].get_data() for c in right.containers if isinstance(c, ErrorbarContainer)}
    for label, depths in (("best learning rate (smoothed) ± s.e.", (2, 4)), ("flagged, not fitted", (8,))):
        x, y = (np.asarray(values, dtype=float) for values in bars[label])
        np.testing.assert_allclose(x, depths)
        np.testing.assert_allclose(y, [law.lr_star(depth)[0] for depth in depths])
    x, y = _line(right, "weighted fit: slope -1.50")
    np.testing.assert_allclose(y, law.power_law.predict(x))


def test_a_sweep_without_a_fit_has_a_figure(runs: pd.DataFrame) -> None:
    law = fit_sweep(runs[runs["depth"] == 2])
    figure = plot_sweep(law, runs[runs["depth"] == 2])
    assert figure.axes[1].get_legend() is not None


def test_labels_of_many_depths_do_not_overlap() -> None:
    axes = Figure().subplots()
    plots.depth_ticks(axes, np.arange(1.0, 41.0))
    numbered, others = axes.get_xticks(), axes.get_xticks(minor=True)
    assert sorted([*numbered, *others]) == list(range(1, 41))
    assert np.diff(np.log(numbered)).min() >= np.log(40) / 18
    assert len(numbered) > 8
