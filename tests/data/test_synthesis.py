"""Synthetic images: spectrum, classes and reproducibility."""

import numpy as np
import pytest
import torch

import ammup
from ammup.data.synthesis import _textures, synthesize


def test_images_depend_on_the_seed_and_not_on_the_global_generator() -> None:
    first = synthesize(4, 3)
    np.random.seed(7)  # noqa: NPY002
    again, other = synthesize(4, 3), synthesize(4, 4)
    assert {split: images.shape for split, (images, _) in first.arrays.items()} == {
        "train": (10_000, 4, 4, 3),
        "test": (2_000, 4, 4, 3),
    }
    assert len(first.classes) == len(set(first.classes)) == 10
    for split, (images, labels) in first.arrays.items():
        assert np.array_equal(images, again.arrays[split][0])
        assert np.array_equal(labels, again.arrays[split][1])
        assert not np.array_equal(images, other.arrays[split][0])
        assert np.bincount(labels, minlength=10).min() > 0.8 * len(labels) / 10
        assert images.dtype == np.uint8


def test_textures_have_mean_0_variance_1_and_channel_correlation_0_7() -> None:
    fields = _textures(np.random.default_rng(0), np.linspace(0, np.pi, 500), 16)
    assert fields.shape == (500, 16, 16, 3)
    np.testing.assert_allclose(fields.mean(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose((fields**2).mean(), 1, rtol=0.02)
    r = np.corrcoef(fields.reshape(-1, 3).T)
    np.testing.assert_allclose(r[np.triu_indices(3, 1)], 0.7, atol=0.03)


@pytest.mark.parametrize("angle", [0.0, np.pi / 4, np.pi / 2])
def test_power_of_a_texture_is_largest_along_its_angle(angle: float) -> None:
    fields = _textures(np.random.default_rng(0), np.full(400, angle), 16)
    power = (np.abs(np.fft.fft2(fields[..., 0], axes=(1, 2))) ** 2).mean(axis=0)
    fy, fx = np.meshgrid(np.fft.fftfreq(16), np.fft.fftfreq(16), indexing="ij")
    frequency = np.hypot(fx, fy)
    ring = (frequency > 0.15) & (frequency < 0.4)
    # The amplitude is exp(cos 2(direction - angle)) / frequency.
    alignment = np.cos(2 * (np.arctan2(fy, fx) - angle))[ring]
    expected = np.exp(2 * alignment) / frequency[ring] ** 2
    np.testing.assert_allclose(power[ring] / power[ring].sum(), expected / expected.sum(), rtol=0.3)
    assert power[ring][alignment > 0.9].min() > 10 * power[ring][alignment < -0.9].max()


def test_images_may_have_a_single_pixel() -> None:
    images, _ = synthesize(1, 0).arrays["train"]
    assert images.shape[1:] == (1, 1, 3)
    assert len(np.unique(images)) > 10


def test_synthetic_images_are_seeded_and_have_a_natural_spectrum() -> None:
    a, b, other = (ammup.load_data("synthetic", image_size=16, train=2000, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(a.train_images, b.train_images)
    assert not np.array_equal(a.train_images, other.train_images)
    grey = a.train_images.mean(axis=3) - a.train_images.mean()
    power = (np.abs(np.fft.fft2(grey)) ** 2).mean(axis=0)
    frequency = np.hypot(np.fft.fftfreq(16)[:, None], np.fft.fftfreq(16)[None, :])
    ring = (frequency > 0.1) & (frequency < 0.45)
    slope = np.polyfit(np.log(frequency[ring]), np.log(power[ring]), 1)[0]
    # An amplitude of 1/f is a power of 1/f²; clipping to uint8 adds a little white noise.
    assert -2.2 < slope < -1.6
    r = np.corrcoef(a.train_images.reshape(-1, 3)[::101].T)
    assert 0.5 < r[0, 1] < 0.9


def test_a_small_cnn_learns_the_synthetic_classes_in_one_epoch() -> None:
    data = ammup.load_data("synthetic", image_size=16)
    net = ammup.cnn(3, width=16)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2)
    mean, deviation = data.channel_statistics

    def batch(images: np.ndarray) -> torch.Tensor:
        return torch.tensor((images / 255 - mean) / deviation, dtype=torch.float32).permute(0, 3, 1, 2)

    for i in range(0, len(data.train_images) - 127, 128):
        loss = torch.nn.functional.cross_entropy(
            net(batch(data.train_images[i : i + 128])), torch.tensor(data.train_labels[i : i + 128])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        accuracy = (net(batch(data.val_images)).argmax(1).numpy() == data.val_labels).mean()
    assert accuracy > 0.4  # random guessing: 0.1
