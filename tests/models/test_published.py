"""Models of torchvision, timm and transformers by name. Oracle: the models that these packages build themselves."""

from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torchvision import models

import ammup
from ammup import InputError
from ammup.cli import cli
from ammup.models.factory import build_model, named_factory
from ammup.models.published import depth_arguments, published_factory, spread


def _shapes(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in model.named_parameters()}


@pytest.mark.parametrize(("name", "depth"), [("resnet18", 8), ("vit_b_32", 12)])
def test_the_published_depth_of_torchvision_gives_the_published_model(name: str, depth: int) -> None:
    with torch.device("meta"):
        assert _shapes(published_factory(f"torchvision:{name}")(depth)) == _shapes(getattr(models, name)())


def test_every_builder_of_torchvision_has_the_blocks_of_its_class() -> None:
    published = {"resnet50": 16, "resnext50_32x4d": 16, "wide_resnet50_2": 16, "convnext_tiny": 18}
    with torch.device("meta"):
        for name, depth in published.items():
            built, expected = published_factory(f"torchvision:{name}")(depth), getattr(models, name)()
            shapes, wanted = _shapes(built), _shapes(expected)
            common = shapes.keys() & wanted.keys()
            assert len(common) > 0.7 * len(wanted)
            assert {key: shapes[key] for key in common} == {key: wanted[key] for key in common}


def test_weights_depend_on_the_seed_and_the_count_grows_with_depth() -> None:
    factory = named_factory("torchvision:resnet18", {}, image_shape=(32, 32, 3), classes=7)
    one, same, other = (build_model(factory, 4, seed) for seed in (0, 0, 1))
    assert torch.equal(one.conv1.weight, same.conv1.weight)
    assert not torch.equal(one.conv1.weight, other.conv1.weight)
    assert one.fc.out_features == 7
    assert [ammup.minimal_depth(build_model(factory, depth, 0)) for depth in (4, 6)] == [4, 6]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("timm:resnet18", {}),
        ("timm:vit_tiny_patch16_224", {"patch_size": 8}),
        ("timm:convnext_atto", {}),
        ("timm:swin_tiny_patch4_window7_224", {"window_size": 2}),
        ("timm:deit_tiny_patch16_224", {"patch_size": 8}),
        ("timm:beit_base_patch16_224", {"patch_size": 8, "embed_dim": 24}),
    ],
)
def test_models_of_timm_fit_the_data(name: str, arguments: dict[str, Any]) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    factory = named_factory(name, arguments, image_shape=(32, 32, 1), classes=5)
    for depth in (4, 8):
        model = build_model(factory, depth, 0).eval()
        assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 5)
        ((argument, value),) = depth_arguments(name, depth).items()
        assert (value if isinstance(value, int) else sum(value)) == depth
        assert argument in ("layers", "depths", "depth")


def test_models_of_transformers_fit_the_data() -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    small = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    image = named_factory("hf:vit", {**small, "patch_size": 8}, image_shape=(32, 32, 3), classes=5)
    assert build_model(image, 3, 0).eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 5)
    text = named_factory("hf:BertConfig", {**small, "vocab_size": 50}, image_shape=(9,), classes=4)
    model = build_model(text, 3, 0).eval()
    assert model(torch.zeros(2, 9)).shape == (2, 4)
    assert len(model.net.bert.encoder.layer) == 3
    gpt = named_factory("hf:gpt2", {"n_embd": 16, "n_head": 2, "vocab_size": 50}, image_shape=(9,), classes=4)
    assert len(build_model(gpt, 5, 0).net.transformer.h) == 5
    stages = {"hidden_sizes": [8, 8, 8, 8], "embedding_size": 8, "layer_type": "basic"}
    resnet = named_factory("hf:resnet", stages, image_shape=(32, 32, 3), classes=5)
    assert build_model(resnet, 6, 0).net.config.depths == [2, 2, 1, 1]


def test_the_command_line_shows_the_arguments() -> None:
    done = CliRunner().invoke(cli, ["depth", "torchvision:resnet18", "--depths", "4,6"])
    assert done.exit_code == 0, done.output
    assert "torchvision:resnet18 of depth 6: layers = (2, 2, 1, 1)" in done.output


@pytest.mark.parametrize(
    ("name", "depth", "message"),
    [
        ("torchvision:resnet19", 8, "unknown model of torchvision with a depth 'resnet19'; nearest of .*resnet18"),
        ("torchvision:resnet18", 3, "depth=3: expected at least 4, one block for each stage"),
        ("timm:resnet19x", 8, "unknown model of timm 'resnet19x'"),
        ("timm:vgg11", 8, "timm:vgg11 has no depth argument that is known"),
        ("hf:brt", 8, "unknown configuration of transformers 'brt'; nearest of .*bert"),
    ],
)
def test_unknown_models_are_rejected(name: str, depth: int, message: str) -> None:
    package = {"timm": "timm", "hf": "transformers"}.get(name.partition(":")[0], "torchvision")
    pytest.importorskip(package, reason=f"{package} is not installed")
    with pytest.raises(InputError, match=message):
        published_factory(name)(depth)


def test_invalid_arguments_are_rejected() -> None:
    factory = named_factory("torchvision:resnet18", {"widht": 3}, image_shape=(8, 8, 3), classes=5)
    with pytest.raises(InputError, match=r"torchvision:resnet18 cannot be built with layers=.*widht"):
        build_model(factory, 8, 0)
    with pytest.raises(InputError, match="takes images with 3 channels, and the data have 1"):
        named_factory("torchvision:resnet18", {}, image_shape=(8, 8, 1), classes=5)


def test_blocks_are_spread_over_stages() -> None:
    for depth in range(4, 30):
        parts = spread(depth, 4)
        assert (sum(parts), max(parts) - min(parts) <= 1) == (depth, True)
