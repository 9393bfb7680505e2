"""Options shared by the verbs that measure: the model, the batch of images and the loss."""

import ast
import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ammup.progress import announce

if TYPE_CHECKING:  # imported when a verb runs, so that --help stays fast
    from ammup.data.dataset import Data
    from ammup.measurement.specification import MeasurementSpec
    from ammup.models.factory import Factory


def parse_depths(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, ...]:
    """The integers of a comma-separated list (a click callback)."""
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a comma-separated list of integers, such as 4,8,16,32") from None


def _parse_settings(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    """The arguments given as NAME=VALUE (a click callback)."""
    settings = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"{value!r} is not of the form NAME=VALUE")
        settings[name] = _parse_value(text)
    return settings


def _parse_value(text: str) -> Any:
    """The value of a Python literal, or the text itself if it is not a literal, such as zero."""
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):  # all that literal_eval documents
        return text


def _format_value(value: Any) -> str:
    """The inverse of :func:`_parse_value`: a string that looks like a literal, such as 3, is quoted."""
    if isinstance(value, str) and _parse_value(value) == value:
        return value
    return ast.unparse(ast.Constant(value))  # repr, except that infinity is a literal (1e309)


_DEFAULTS = {"data": "synthetic", "loss": "cross_entropy", "part": "total"}
_OPTIONS = (
    click.option("--width", type=click.IntRange(1), help="Width of every unit.  [default: 128]"),
    click.option(
        "--data", default=_DEFAULTS["data"], show_default=True, help="synthetic, cifar10, cifar100, a folder or .npz."
    ),
    click.option(
        "--image-size",
        type=click.IntRange(1),
        help="Resize images to this height and width.  [default if synthetic: 4, or 8 for your own factory]",
    ),
    click.option(
        "--batch-size", type=click.IntRange(1), help="Images in the batch.  [default: 32, or all if there are fewer]"
    ),
    click.option("--loss", type=click.Choice(["cross_entropy", "mse"]), default=_DEFAULTS["loss"], show_default=True),
    click.option(
        "--part", type=click.Choice(["total", "label", "output"]), default=_DEFAULTS["part"], show_default=True
    ),
    click.option(
        "--labels",
        type=click.Choice(["data", "drawn"]),
        help="Labels of the data, or drawn from N(0, 1).  [default: data; drawn for mse]",
    ),
    click.option(
        "--set",
        "settings",
        callback=_parse_settings,
        multiple=True,
        metavar="NAME=VALUE",
        help="Another argument of the factory; can be repeated.",
    ),
    click.option("--device", help="Torch device.  [default: cuda if available, else cpu]"),
)


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """The parsed options; None if an option without a default was not given."""

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
        """The options that differ from their defaults, as words of a command line that parses to the same options."""
        words: list[str] = []
        for option in fields(self):
            value = getattr(self, option.name)
            if option.name == "settings":
                for name, item in value.items():
                    words += ["--set", f"{name}={_format_value(item)}"]
            elif value not in (None, _DEFAULTS.get(option.name)):
                words += [f"--{option.name.replace('_', '-')}", str(value)]
        return words

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the factory that were given."""
        return self.settings if self.width is None else {"width": self.width, **self.settings}

    def check(self, family: str, depths: tuple[int, ...] = ()) -> None:
        """Raise InputError for wrong names, arguments of a family, depths and data, before PyTorch is imported."""
        from ammup.data.names import check_source_files, check_source_name
        from ammup.models.names import FAMILY_NAMES, FAMILY_WIDTH, check_factory_name

        check_factory_name(family)
        check_source_name(self.data)
        check_source_files(self.data)
        if depths:
            from ammup.stats.depths import checked_depths

            checked = checked_depths(depths, at_least=2)
            if family in FAMILY_NAMES:
                from ammup.architecture.families import check_arguments

                check_arguments(family, sorted(checked), {"width": FAMILY_WIDTH, **self.arguments})

    def load(self, family: str, *, progress: bool) -> "Batch":
        """Load the images and import the factory.

        Args:
            family: mlp, cnn, resnet or PACKAGE.MODULE:FACTORY.
            progress: show progress while images are decoded.
        """
        self.check(family)
        from ammup.data.dataset import load_data
        from ammup.measurement.specification import MeasurementSpec
        from ammup.models.device import default_device
        from ammup.models.factory import named_factory

        # At size 4 the finite-depth law, which exists for the built-in families only, is computed within seconds.
        synthetic_size = 8 if ":" in family else 4
        size = synthetic_size if self.image_size is None and self.data == "synthetic" else self.image_size
        images = load_data(self.data, image_size=size, progress=progress)
        inputs, classes = images.batch(self.batch_size or min(32, len(images.train_images)))
        labels = self.labels or ("data" if self.loss == "cross_entropy" else "drawn")
        return Batch(
            factory=named_factory(family, self.arguments, image_shape=images.image_shape, classes=len(images.classes)),
            spec=MeasurementSpec(
                inputs=inputs,
                targets=classes if labels == "data" else None,
                loss=self.loss,
                part=self.part,
                device=self.device or default_device(),
            ),
            name=f"{family} on {Path(self.data).name}",
            images=images,
        )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A factory, the specification of how its models are measured, and the data set from which the batch was drawn."""

    factory: "Factory"
    spec: "MeasurementSpec"
    name: str
    images: "Data"

    @property
    def about(self) -> str:
        """One line that names the model, the images and the loss."""
        inputs = self.spec.inputs
        shape = "×".join(str(n) for n in inputs.shape[1:])
        count = f"{len(inputs)} image{'' if len(inputs) == 1 else 's'} of {shape}"
        return f"{self.name}: {count}, {self.spec.loss}"

    def heading(self, draws: int) -> str:
        """:attr:`about` with the number of weight draws."""
        return f"{self.about}, weight draws at each depth: {draws}"


def batch_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options above to a command, which receives them as one argument ``batch``."""

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        batch = BatchOptions(**{option.name: given.pop(option.name) for option in fields(BatchOptions)})
        model = given.get("family", given.get("model", "the model"))
        if model is not None and not given.get("as_json"):
            announce(f"ammup {command.__name__}: loading PyTorch, {model} and the data {batch.data}")
        command(batch=batch, **given)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
