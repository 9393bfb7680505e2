"""`Architecture`: derived fields, equality, invalid fields, and the descriptions of factories."""

from functools import partial

import pytest

import ammup
from ammup import InputError
from ammup.architecture.architecture import Architecture
from ammup.models.factory import architecture_of
from ammup.models.readings import fixed_scale, learnable_scale, unscaled

SIZES = {"width": 4, "in_features": 3, "out_features": 2}


def test_widths_of_every_unit() -> None:
    assert Architecture(family="mlp", depth=3, **SIZES).widths == (4, 4, 4)
    assert Architecture(family="mlp", depth=2, **{**SIZES, "width": [5, 6]}).widths == (5, 6)
    blocks = Architecture(family="resnet", depth=4, projections=[2, 4], **SIZES)
    assert blocks.widths == (4, 4, 8, 8, 16)  # the input of each block, and the last output


def test_kinds_of_a_branch() -> None:
    assert Architecture(family="resnet", depth=1, branch=2, **SIZES).branch_kinds == ("dense", "dense")
    assert Architecture(family="resnet", depth=1, branch=2, dims=1, **SIZES).branch_kinds == ("conv", "conv")
    mixed = Architecture(family="resnet", depth=1, branch=["conv", "dense"], dims=2, **SIZES)
    assert mixed.branch_kinds == ("conv", "dense")


def test_descriptions_from_lists_and_from_tuples_are_equal() -> None:
    listed = Architecture(family="cnn", depth=2, dims=1, kernel=[0, 2], **{**SIZES, "width": [4, 6]})
    tuples = Architecture(family="cnn", depth=2, dims=1, kernel=((0,), (2,)), **{**SIZES, "width": (4, 6)})
    assert listed == tuples
    assert hash(listed) == hash(tuples)
    assert listed.offsets == ((0,), (2,))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"family": "vit"}, "family='vit'.*mlp, cnn, resnet"),
        ({"depth": 0}, "depth=0.*at least 1"),
        ({"depth": True}, "depth=True"),
        ({"width": 0}, "width=0"),
        ({"width": [4, 0]}, "width=0"),
        ({"width": [4]}, r"width=\[4\] gives 1 widths for depth=2; give one for each layer"),
        ({"in_features": 0}, "in_features=0"),
        ({"activation": "swish"}, "activation='swish'.*relu, gelu, linear"),
        ({"gain": "xavier"}, "gain='xavier'"),
        ({"readout": "zero"}, "readout='zero'"),
        ({"padding": "same"}, "padding='same'.*circular, zero"),
        ({"head": "max"}, "head='max'.*pool, field"),
        ({"family": "cnn", "dims": 0}, "dims=0.*1, 2.*mlp"),
        ({"family": "cnn", "dims": 1, "in_features": 0}, "in_channels=0"),
        ({"family": "cnn", "dims": 1, "kernel": [0, 0]}, "distinct offsets"),
        ({"family": "resnet", "dims": 3}, "dims=3"),
        ({"family": "resnet", "branch": 0}, "branch=0"),
        ({"family": "resnet", "branch": []}, r"branch=\[\]"),
        ({"family": "resnet", "branch": ["conv"]}, "branch=.*dims=0"),
        ({"family": "resnet", "scaled": "first"}, "scaled='first'.*all, last"),
        ({"family": "resnet", "c": 0.0}, "c=0.0 must be positive and finite"),
        ({"family": "resnet", "dropout": 1.0}, "dropout=1.0"),
        ({"family": "resnet", "projections": [3]}, r"projections=\[3\] must be block numbers from 1 to depth=2"),
    ],
)
def test_invalid_fields_are_rejected(fields: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Architecture(**{"family": "mlp", "depth": 2, **SIZES, **fields})


def test_description_of_a_family_with_arguments_set_by_partial() -> None:
    build = partial(partial(ammup.cnn, width=8, kernel=(1, 3)), width=16, seed=3)
    expected = Architecture(
        family="cnn",
        depth=4,
        width=16,
        in_features=3,
        out_features=10,
        dims=2,
        kernel=(1, 3),
        head="pool",
        readout="mean-field",
    )
    assert architecture_of(build, 4) == expected


def test_descriptions_of_the_readings_of_the_residual_scale() -> None:
    assert architecture_of(partial(fixed_scale, width=8), 4) == architecture_of(
        partial(ammup.resnet, width=8, c=1.0), 4
    )
    assert architecture_of(partial(unscaled, width=8), 4) == architecture_of(partial(ammup.resnet, width=8, c=8.0), 4)


@pytest.mark.parametrize(
    "factory",
    [lambda depth, seed=0: ammup.mlp(depth, seed=seed), learnable_scale, partial(ammup.mlp, 3)],
    ids=["a lambda, which could change the weights", "a net of another kind", "a family with a fixed depth"],
)
def test_other_factories_have_no_description(factory: object) -> None:
    assert architecture_of(factory, 4) is None
