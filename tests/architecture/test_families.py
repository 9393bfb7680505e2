"""The arguments of the families, against their signatures and against building the nets."""

import inspect

import pytest

from ammup.architecture.families import DEFAULTS, check_arguments
from ammup.errors import InputError
from ammup.models.factory import FAMILIES, architecture_of, build_model, named_factory


@pytest.mark.parametrize("family", FAMILIES)
def test_the_defaults_are_those_of_the_function(family: str) -> None:
    parameters = inspect.signature(FAMILIES[family]).parameters.values()
    stated = {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY and one.name != "seed"}
    assert dict(DEFAULTS[family]) == stated


@pytest.mark.parametrize(
    ("family", "arguments"),
    [
        ("mlp", {"width": (3, 4)}),
        ("cnn", {"kernel": [(0, 0), (1, 1)]}),
        ("cnn", {"kernel": 4}),
        ("cnn", {"dims": 1, "kernel": (5,), "head": "field", "seed": 3}),
        ("resnet", {"projections": [1], "groups": 2}),
        ("resnet", {"branch": ("conv", "dense"), "padding": "zero"}),
        ("resnet", {"dims": 0}),
        ("mlp", {"width": 0}),
        ("mlp", {"width": (3, 4, 5)}),
        ("mlp", {"activation": "tanh"}),
        ("cnn", {"width": 6, "groups": 4}),
        ("cnn", {"kernel": "abc"}),
        ("cnn", {"kernel": 2, "padding": "zero"}),
        ("cnn", {"kernel": [0], "dilation": 2, "dims": 1}),
        ("cnn", {"padding": "same"}),
        ("cnn", {"dims": 3}),
        ("resnet", {"kernel": 2, "projections": [1]}),
        ("resnet", {"branch": ("dense", "linear")}),
        ("resnet", {"dropout": 1.0}),
        ("resnet", {"dropout": "abc"}),
        ("resnet", {"c": None}),
        ("resnet", {"projections": 1}),
    ],
)
@pytest.mark.usefixtures("unchecked")  # the type checks of the tests have messages of their own
def test_what_is_rejected_is_what_the_family_rejects(family: str, arguments: dict) -> None:
    factory = named_factory(family, {"width": 8, **arguments}, image_shape=(4, 4, 3), classes=10)
    messages = []
    for attempt in (
        lambda: build_model(factory, 2, seed=0),
        lambda: check_arguments(family, [2], {"width": 8, **arguments}),
    ):
        try:
            attempt()
            messages.append("")
        except InputError as error:
            messages.append(str(error))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unknown_argument_is_reported_with_the_known_ones(family: str) -> None:
    with pytest.raises(InputError, match=f"{family} has no argument 'wrong'; expected one of: activation.*, width"):
        check_arguments(family, [2], {"wrong": 1})
    assert architecture_of(FAMILIES[family], 3).family == family
