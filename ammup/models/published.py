"""Models of torchvision, timm and transformers as factories of a depth.

Their names are ``torchvision:NAME``, ``timm:NAME`` and ``hf:NAME``, where the last one is a configuration.

The packages are imported when a factory is called. The depth is the number of blocks. If a model has several stages,
its blocks are divided over them as equally as possible; earlier stages get the remainder.

Axes: B batch, C channel, H and W position, T token, M class.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any, cast

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from ammup.errors import InputError, unknown
from ammup.models.names import PACKAGES

# Builders of torchvision: (blocks of a ResNet, its other arguments); widths of the stages of a ConvNeXt; the patch,
# heads, width and width of the MLP of a vision transformer.
_RESNETS: Mapping[str, tuple[str, dict[str, int]]] = {
    "resnet18": ("BasicBlock", {}),
    "resnet34": ("BasicBlock", {}),
    "resnet50": ("Bottleneck", {}),
    "resnet101": ("Bottleneck", {}),
    "resnet152": ("Bottleneck", {}),
    "resnext50_32x4d": ("Bottleneck", {"groups": 32, "width_per_group": 4}),
    "resnext101_32x8d": ("Bottleneck", {"groups": 32, "width_per_group": 8}),
    "resnext101_64x4d": ("Bottleneck", {"groups": 64, "width_per_group": 4}),
    "wide_resnet50_2": ("Bottleneck", {"width_per_group": 128}),
    "wide_resnet101_2": ("Bottleneck", {"width_per_group": 128}),
}
_CONVNEXTS = {"convnext_tiny": 96, "convnext_small": 96, "convnext_base": 128, "convnext_large": 192}
_VITS = {
    "vit_b_16": (16, 12, 768, 3072),
    "vit_b_32": (32, 12, 768, 3072),
    "vit_l_16": (16, 16, 1024, 4096),
    "vit_l_32": (32, 16, 1024, 4096),
    "vit_h_14": (14, 16, 1280, 5120),
}
# Modules of timm: the argument with the depth, and the number of stages; None: one number.
_TIMM = {
    "resnet": ("layers", 4),
    "convnext": ("depths", 4),
    "swin_transformer": ("depths", 4),
    "swin_transformer_v2": ("depths", 4),
    "vision_transformer": ("depth", None),
    "deit": ("depth", None),
    "beit": ("depth", None),
}
# Modules of timm whose models need the size of the images.
_SIZED = ("swin_transformer", "swin_transformer_v2", "vision_transformer", "deit", "beit")

Arguments = dict[str, Any]


def depth_arguments(name: str, depth: int) -> Arguments:
    """The arguments of the package that a depth is mapped to, such as {"layers": (2, 2, 2, 2)}.

    Raises:
        InputError: the package is missing, the model is unknown or has no depth, or the depth is too small.
    """
    package, _, model = name.partition(":")
    return _BACKENDS[package][0](model, depth)


def published_factory(name: str) -> Callable[..., nn.Module]:
    """A function of the depth and keyword arguments, which draws the weights from torch's global generator.

    Raises:
        InputError: the package is missing, or the model is unknown or has no depth.
    """
    package, _, model = name.partition(":")
    build = _BACKENDS[package][1]
    depth_arguments(name, 64)  # raises if the model is unknown
    return partial(_built, name, build, model)


def published_sizes(name: str, *, image_shape: tuple[int, ...], classes: int) -> Arguments:
    """The arguments with the sizes of the inputs and outputs that fit a data set with images (H, W, C).

    Raises:
        InputError: a model of torchvision, whose images have three channels, and data with another number of channels.
    """
    package, _, model = name.partition(":")
    channels, side = image_shape[-1], image_shape[0]
    if package == "torchvision":
        if channels != 3:
            raise InputError(f"{name} takes images with 3 channels, and the data have {channels}; use a model of timm")
        return {"num_classes": classes, **({"image_size": side} if model in _VITS else {})}
    if package == "timm":
        sized = {"img_size": side} if _timm_module(model) in _SIZED else {}
        return {"num_classes": classes, "in_chans": channels, **sized}
    if len(image_shape) < 3:
        return {"num_labels": classes}
    return {"num_labels": classes, "num_channels": channels, "image_size": side}


def spread(depth: int, stages: int) -> tuple[int, ...]:
    """The blocks of each stage, as equal as possible.

    Raises:
        InputError: there are fewer blocks than stages.

    Example:
        >>> spread(10, 4)
        (3, 3, 2, 2)
    """
    if depth < stages:
        raise InputError(f"depth={depth}: expected at least {stages}, one block for each stage")
    return tuple(depth // stages + (stage < depth % stages) for stage in range(stages))


def _built(name: str, build: Callable[..., nn.Module], model: str, depth: int, **arguments: Any) -> nn.Module:
    mapped = depth_arguments(name, depth)
    try:
        return build(model, {**mapped, **arguments})
    except InputError:
        raise
    except Exception as error:  # the packages raise various errors for invalid arguments
        given = ", ".join(f"{key}={value!r}" for key, value in {**mapped, **arguments}.items())
        raise InputError(f"{name} cannot be built with {given}: {type(error).__name__}: {error}") from error


def _package(name: str) -> Any:
    try:
        return import_module(PACKAGES[name])
    except ImportError as error:
        raise InputError(f"{name}:… needs {PACKAGES[name]}: pip install {PACKAGES[name]}") from error


def _torchvision_depth(model: str, depth: int) -> Arguments:
    known = [*_RESNETS, *_CONVNEXTS, *_VITS]
    if model not in known:
        raise unknown("model of torchvision with a depth", model, known, "others need a factory of your own")
    return {"num_layers": depth} if model in _VITS else {"layers": spread(depth, 4)}


def _torchvision_model(model: str, arguments: Arguments) -> nn.Module:
    models = _package("torchvision").models
    if model in _VITS:
        patch, heads, width, mlp = _VITS[model]
        sizes = {"image_size": 224, "patch_size": patch, "num_heads": heads, "hidden_dim": width, "mlp_dim": mlp}
        return cast(nn.Module, models.VisionTransformer(**{**sizes, **arguments}))
    layers: Sequence[int] = arguments.pop("layers")
    if model in _RESNETS:
        block, others = _RESNETS[model]
        kind = getattr(models.resnet, block)
        return cast(nn.Module, models.ResNet(kind, list(layers), **{**others, **arguments}))
    widths = [_CONVNEXTS[model] * 2**stage for stage in range(4)]
    nexts: list[int | None] = [*widths[1:], None]
    settings = [models.convnext.CNBlockConfig(*one) for one in zip(widths, nexts, layers, strict=True)]
    return cast(nn.Module, models.ConvNeXt(settings, **arguments))


def _timm_module(model: str) -> str:
    timm = _package("timm")
    if not timm.is_model(model):
        raise unknown("model of timm", model, timm.list_models(), "`timm.list_models()` lists all")
    return str(timm.models.model_entrypoint(model).__module__).rpartition(".")[2]


def _timm_depth(model: str, depth: int) -> Arguments:
    module = _timm_module(model)
    if module not in _TIMM:
        raise InputError(
            f"timm:{model} has no depth argument that is known; expected a model of {', '.join(_TIMM)}, or a factory "
            "of your own"
        )
    argument, stages = _TIMM[module]
    return {argument: depth if stages is None else spread(depth, stages)}


def _timm_model(model: str, arguments: Arguments) -> nn.Module:
    return cast(nn.Module, _package("timm").create_model(model, **arguments))


def _hf_config(model: str, arguments: Arguments) -> Any:
    transformers = _package("hf")
    known = transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES
    by_class = {kind: name for name, kind in known.items()}
    name = by_class.get(model, model)
    if name not in known:
        raise unknown("configuration of transformers", model, [*known], "such as hf:bert or hf:BertConfig")
    return transformers.AutoConfig.for_model(name, **arguments)


def _hf_depth(model: str, depth: int) -> Arguments:
    config = _hf_config(model, {})
    if hasattr(config, "num_hidden_layers") and not hasattr(config, "depths"):
        return {"num_hidden_layers": depth}
    if not hasattr(config, "depths"):
        raise InputError(f"hf:{model} has neither num_hidden_layers nor depths; use a factory of your own")
    return {"depths": list(spread(depth, len(config.depths)))}


def _hf_model(model: str, arguments: Arguments) -> nn.Module:
    transformers = _package("hf")
    config = _hf_config(model, arguments)
    images = type(config) in transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
    if not images and getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = 0  # models that classify the last token of a text need it for batches
    auto = transformers.AutoModelForImageClassification if images else transformers.AutoModelForSequenceClassification
    return Logits(auto.from_config(config), images=images)


class Logits(nn.Module):
    """A model of transformers as a function of one tensor: images (B, C, H, W), or the indices of tokens (B, T)."""

    def __init__(self, net: nn.Module, *, images: bool) -> None:
        super().__init__()
        self.net, self.images = net, images

    def forward(self, x: Shaped[Tensor, "B ..."]) -> Float[Tensor, "B M"]:
        """The logits."""
        tokens = x.to(torch.int64)
        text = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        logits: Tensor = self.net(**({"pixel_values": x} if self.images else text)).logits
        return logits


_BACKENDS: Mapping[str, tuple[Callable[[str, int], Arguments], Callable[[str, Arguments], nn.Module]]] = {
    "torchvision": (_torchvision_depth, _torchvision_model),
    "timm": (_timm_depth, _timm_model),
    "hf": (_hf_depth, _hf_model),
}
