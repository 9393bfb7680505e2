"""The options that say what is measured: a model, a batch of images, a loss. Shared by the verbs that measure."""

import ast
import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:  # the libraries behind a verb are imported when it runs: --help answers at once
    from ammup.measurement.specification import MeasurementSpec
    from ammup.models.factory import Factory


def parsed_depths(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, ...]:
    """Whole numbers between commas."""
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of integers such as 4,8,16,32") from None


def _settings(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE pairs; a value is a Python literal, or a word such as zero."""
    settings = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"{value!r} is not of the form NAME=VALUE")
        try:
            settings[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            settings[name] = text
    return settings


_DEFAULTS = {"data": "synthetic", "loss": "cross_entropy", "part": "total"}
_OPTIONS = (
    click.option("--width", type=click.IntRange(1), help="Width of every unit.  [default: 128]"),
    click.option(
        "--data", default=_DEFAULTS["data"], show_default=True, help="synthetic, cifar10, cifar100, a folder or .npz."
    ),
    click.option(
        "--image-size",
        type=click.IntRange(1),
        help="Resize images to this side.  [default if synthetic: 4, or 8 for your own factory]",
    ),
    click.option("--batch-size", type=click.IntRange(1), help="Images in the step.  [default: 32, or all there are]"),
    click.option("--loss", type=click.Choice(["cross_entropy", "mse"]), default=_DEFAULTS["loss"], show_default=True),
    click.option(
        "--part", type=click.Choice(["total", "label", "output"]), default=_DEFAULTS["part"], show_default=True
    ),
    click.option("--labels", type=click.Choice(["data", "drawn"]), help="[default: data; drawn for mse]"),
    click.option(
        "--set",
        "settings",
        callback=_settings,
        multiple=True,
        metavar="NAME=VALUE",
        help="Any other argument of the factory, as often as there are some.",
    ),
    click.option("--device", help="Where to measure.  [default: cuda if there is one, else cpu]"),
)


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """What the options above say."""

    width: int | None
    data: str
    image_size: int | None
    batch_size: int | None
    loss: str
    part: str
    labels: str | None
    settings: dict[str, Any]
    device: str | None

    @property
    def words(self) -> list[str]:
        """The options that were given, as words of a command line."""
        found: list[str] = []
        for option in fields(self):
            value = getattr(self, option.name)
            if option.name == "settings":
                found += [word for name, item in value.items() for word in ("--set", f"{name}={item}")]
            elif value not in (None, _DEFAULTS.get(option.name)):
                found += [f"--{option.name.replace('_', '-')}", str(value)]
        return found

    def load(self, family: str, *, progress: bool) -> "Batch":
        """Read the data and find the factory."""
        from ammup.data.dataset import load_data
        from ammup.measurement.specification import MeasurementSpec
        from ammup.models.device import default_device
        from ammup.models.factory import named_factory

        # Small enough for the finite-depth law, which is known for our families, to take seconds.
        synthetic = 8 if ":" in family else 4
        size = synthetic if self.image_size is None and self.data == "synthetic" else self.image_size
        images = load_data(self.data, image_size=size, progress=progress)
        inputs, classes = images.batch(self.batch_size or min(32, len(images.train_images)))
        arguments = self.settings if self.width is None else {"width": self.width, **self.settings}
        labels = self.labels or ("data" if self.loss == "cross_entropy" else "drawn")
        return Batch(
            factory=named_factory(family, arguments, image_shape=images.image_shape, classes=len(images.classes)),
            spec=MeasurementSpec(
                inputs=inputs,
                targets=classes if labels == "data" else None,
                loss=self.loss,
                part=self.part,
                device=self.device or default_device(),
            ),
            name=f"{family} on {Path(self.data).name}",
        )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A factory, and what its models are measured on."""

    factory: "Factory"
    spec: "MeasurementSpec"
    name: str

    def heading(self, draws: int) -> str:
        """One line on what was measured."""
        inputs = self.spec.inputs
        shape = "×".join(str(n) for n in inputs.shape[1:])
        count = f"{len(inputs)} image{'' if len(inputs) == 1 else 's'} of {shape}"
        return f"{self.name}: {count}, {self.spec.loss}, weight draws at each depth: {draws}"


def takes_batch(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options above, as one argument ``batch``."""

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        batch = BatchOptions(**{option.name: given.pop(option.name) for option in fields(BatchOptions)})
        command(batch=batch, **given)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
