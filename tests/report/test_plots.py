"""Figures: what their artists hold, and that they render."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.container import ErrorbarContainer
from PIL import Image

import ammup
from ammup import DepthLaw, InputError
from ammup.report.plots import plot_depth_law, save


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


def test_one_seed_has_no_error_bars_but_a_figure() -> None:
    law = ammup.depth_exponent(partial(ammup.mlp, width=8, in_features=8), [2, 4], inputs=torch.ones(1, 8), seeds=1)
    figure = plot_depth_law(law)
    assert figure.axes[0].get_legend() is not None


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_saves_what_the_suffix_says(law: DepthLaw, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"law.{suffix}"
    save(plot_depth_law(law, title="a title"), path)
    assert path.stat().st_size > 5000
    if suffix == "png":
        with Image.open(path) as image:
            assert image.size == (1500, 630)


def test_unknown_suffix_is_refused(law: DepthLaw, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'law.txt'; allowed suffixes: .*png"):
        save(plot_depth_law(law), tmp_path / "law.txt")
