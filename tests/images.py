"""Folders of small images whose pixels are known."""

from pathlib import Path

import numpy as np
from PIL import Image

Labelled = list[tuple[np.ndarray, int]]


def write_images(
    root: Path, splits: tuple[str, ...] = ("train", "test"), size: tuple[int, int] = (8, 8)
) -> dict[str, Labelled]:
    """Write six PNG images (lossless) of each of two classes into each split; the pixels and labels by split."""
    rng = np.random.default_rng(0)
    images: dict[str, Labelled] = {}
    for split in splits:
        for label, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for i in range(6):
                pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
                images.setdefault(split, []).append((pixels, label))
    return images


def same_images(images: np.ndarray, labels: np.ndarray, expected: list) -> bool:
    """Whether these are the expected images and labels, in any order."""
    ours = sorted((int(y), x.tobytes()) for x, y in zip(images, labels, strict=True))
    return ours == sorted((y, x.tobytes()) for x, y in expected)
