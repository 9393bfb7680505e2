"""Synthetic images, for runs without files or network access."""

import numpy as np
from numpy.typing import NDArray

from ammup.data.cache import Splits


def synthesize(image_size: int, seed: int) -> Splits:
    """10,000 training and 2,000 test images of ten classes of textures, uint8.

    Like natural images, they have a 1/f amplitude spectrum and correlated channels. Each class has a preferred
    orientation and a tint; the brightness varies from image to image.
    """
    rng = np.random.default_rng((seed, 0x1F))
    tints = rng.standard_normal((10, 3))
    arrays = {}
    for split, n in (("train", 10_000), ("test", 2_000)):
        labels = rng.integers(0, 10, n)
        images = np.empty((n, image_size, image_size, 3), np.uint8)
        for start in range(0, n, 1000):
            part = labels[start : start + 1000]
            textures = _textures(rng, np.pi * part / 10, image_size)
            tint = 0.5 * tints[part] + 0.4 * rng.standard_normal((len(part), 1))
            images[start : start + 1000] = np.clip(128 + 45 * (textures + tint[:, None, None, :]), 0, 255)
        arrays[split] = (images, labels)
    return Splits(arrays=arrays, classes=tuple(f"texture {i}" for i in range(10)))


def _textures(rng: np.random.Generator, angles: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    """N×H×W×3 fields of variance 1 whose amplitude falls as 1/frequency and is largest along each angle."""
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    frequency = np.hypot(fy, fx)
    frequency[0, 0] = np.inf  # sets the mean to 0
    preference = np.exp(np.cos(2 * (np.arctan2(fy, fx) - angles[:, None, None]))).astype(np.float32)
    white = rng.standard_normal((len(angles), 4, size, size), dtype=np.float32)
    pink = np.fft.irfft2(np.fft.rfft2(white) * (preference / frequency)[:, None], s=(size, size))
    pink /= np.sqrt(np.mean(pink**2, axis=(2, 3), keepdims=True)) + (size == 1)  # an image of one pixel is all 0
    channels = np.sqrt(0.7) * pink[:, :1] + np.sqrt(0.3) * pink[:, 1:]  # the channels have a correlation of 0.7
    return np.asarray(channels.transpose(0, 2, 3, 1), np.float32)
