"""Print the depth of 52 architectures by each convention next to the number that their papers state, in Markdown.

    python benchmarks/depth_table.py
    python benchmarks/depth_table.py --only 'swin|vit'

Each model is built without weights and recorded at two image sizes and in training and evaluation mode. The last
column states whether the count agrees with the literature and whether all runs agree. The exit code is 1 if a run
differs from another run or if a count differs without an explanation here. timm and transformers must be installed.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]  # the ammup of this checkout

import torch
from torch import nn

from ammup.models.depth import CONVENTIONS, structure_of


@dataclass(frozen=True)
class Row:
    """One architecture.

    Attributes:
        name: library and name of the builder.
        convention: the convention in which the literature counts.
        literature: the number of the literature without the readout.
        reason: how the literature arrives at it.
        difference: why our count is another one; empty if the counts must agree.
        larger: the second image size; 0 if the architecture has one size only.
    """

    name: str
    convention: str
    literature: int
    reason: str
    difference: str = ""
    larger: int = 288


ROWS = (
    Row("torchvision alexnet", "layers", 7, "8 layers with the readout"),
    Row("torchvision vgg16", "layers", 15, "16 layers with the readout"),
    Row("torchvision googlenet", "layers", 21, "22 layers with the readout; auxiliary heads not counted"),
    Row("torchvision inception_v3", "layers", 47, "48 layers with the readout", larger=363),
    Row("torchvision squeezenet1_0", "layers", 17, "18 layers with the last convolution, the readout"),
    Row("torchvision densenet121", "layers", 120, "121 layers with the readout"),
    Row("torchvision mobilenet_v2", "layers", 52, "53 layers with the readout: 16 blocks of 3, one of 2, 2 outside"),
    Row("torchvision mobilenet_v3_large", "layers", 47, "14 blocks of 3, one of 2, stem, 2 last layers; gates off"),
    Row("torchvision efficientnet_b0", "layers", 49, "15 blocks of 3, one of 2, stem, last convolution; gates off"),
    Row("torchvision resnet18", "paper", 8, "2 + 2 + 2 + 2 blocks"),
    Row("torchvision resnet50", "paper", 16, "3 + 4 + 6 + 3 blocks"),
    Row("torchvision resnet152", "paper", 50, "3 + 8 + 36 + 3 blocks"),
    Row("torchvision resnext50_32x4d", "paper", 16, "3 + 4 + 6 + 3 blocks"),
    Row("torchvision wide_resnet50_2", "paper", 16, "3 + 4 + 6 + 3 blocks"),
    Row("timm regnety_004", "paper", 16, "1 + 3 + 6 + 6 blocks"),
    Row("timm seresnet50", "paper", 16, "3 + 4 + 6 + 3 blocks; gates off"),
    Row("timm skresnet18", "paper", 8, "2 + 2 + 2 + 2 blocks"),
    Row("timm resnest50d", "paper", 16, "3 + 4 + 6 + 3 blocks; deep stem left out"),
    Row("timm res2net50_26w_4s", "paper", 16, "3 + 4 + 6 + 3 blocks; sums of channel groups are inside"),
    Row("timm halonet_h1", "paper", 19, "3 + 3 + 10 + 3 blocks; logits off", larger=512),
    Row("timm inception_resnet_v2", "blocks", 40, "10 + 20 + 10 residual blocks", larger=363),
    Row("timm legacy_xception", "blocks", 12, "12 residual modules", larger=363),
    Row("timm ghostnet_100", "blocks", 16, "16 bottlenecks"),
    Row("timm repghostnet_100", "blocks", 16, "16 bottlenecks; sums inside of ghost modules not counted"),
    Row("timm repvgg_a0", "paper", 21, "2 + 4 + 14 + 1 layers after the stem"),
    Row("timm mobileone_s1", "layers", 43, "stem and 2 + 8 + 10 + 1 blocks of 2 layers"),
    Row("timm hrnet_w18_small", "blocks", 8, "1 bottleneck, 3 modules of 2 blocks in the longest branch, 1 head"),
    Row("torchvision convnext_tiny", "paper", 21, "3 + 3 + 9 + 3 blocks, 3 downsampling layers"),
    Row("timm convmixer_768_32", "paper", 64, "32 residual depthwise and 32 pointwise layers"),
    Row("timm mixer_s32_224", "paper", 16, "8 layers of 2 additions", larger=0),
    Row("timm gmlp_ti16_224", "paper", 30, "30 blocks", larger=0),
    Row(
        "timm poolformer_s12", "paper", 27, "2 + 2 + 6 + 2 blocks of 2 additions, 3 patch embeddings",
        "pooling has no weights, so its addition is not a unit",
    ),
    Row("torchvision vit_b_16", "paper", 24, "12 layers of 2 additions", larger=0),
    Row("timm deit_tiny_distilled_patch16_224", "paper", 24, "12 layers of 2 additions", larger=0),
    Row(
        "timm cait_xxs24_224", "paper", 52, "24 + 2 layers of 2 additions",
        "the first class attention adds to a constant token: 2 plain layers instead of 1 addition", larger=0,
    ),
    Row("timm xcit_nano_12_p8_224", "paper", 40, "12 layers of 3 additions, 2 of class attention"),
    Row("timm volo_d1_224", "paper", 41, "18 layers of 2, 2 of class attention, 1 downsampling layer", larger=0),
    Row("torchvision swin_t", "paper", 27, "2 + 2 + 6 + 2 blocks of 2 additions, 3 patch mergings"),
    Row("torchvision swin_v2_t", "paper", 27, "2 + 2 + 6 + 2 blocks of 2 additions, 3 patch mergings"),
    Row("timm mvitv2_tiny", "paper", 20, "1 + 2 + 5 + 2 blocks of 2 additions; pooled queries inside"),
    Row("timm csatv2", "blocks", 22, "14 convolutional blocks, 4 transformer layers of 2 additions", larger=640),
    Row("timm twins_svt_small", "paper", 43, "18 blocks of 2, 4 position encodings, 3 patch embeddings"),
    Row("timm edgenext_xx_small", "blocks", 12, "2 + 2 + 6 + 2 blocks"),
    Row("torchvision maxvit_t", "blocks", 55, "11 blocks: a convolution and 2 attentions of 2 additions", larger=0),
    Row("timm sequencer2d_s", "blocks", 36, "4 + 3 + 8 + 3 blocks of 2 additions", larger=0),
    Row("timm nasnetalarge", "blocks", 22, "18 normal and 4 reduction cells", larger=363),
    Row("transformers Bert", "blocks", 4, "2 layers of 2 additions", larger=0),
    Row("transformers GPT2", "paper", 4, "2 layers of 2 additions", larger=0),
    Row("transformers GPTJ", "paper", 2, "2 layers; attention and MLP in parallel", larger=0),
    Row("transformers Mamba", "paper", 2, "2 layers", larger=0),
    Row(
        "transformers T5", "blocks", 10, "2 layers of 2 additions, 2 of 3",
        "the first decoder self-attention is parallel to the encoder", larger=0,
    ),
)  # fmt: skip


def main() -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="PATTERN", help="regular expression that names must contain")
    only = parser.parse_args().only
    print(f"| model | {' | '.join(CONVENTIONS)} | literature | counted there | verdict |")
    print(f"|---|{'---:|' * len(CONVENTIONS)}---:|---|---|")
    failed = False
    for row in ROWS:
        if re.search(only, row.name):
            cells, accepted = line(row)
            print("| " + " | ".join(cells) + " |", flush=True)
            failed |= not accepted
    return int(failed)


def line(row: Row) -> tuple[list[str], bool]:
    """(the cells of an architecture, whether its counts are as this file expects)."""
    counts = list(runs(row))
    ours = counts[0]
    equal = all(count == ours for count in counts)
    agrees = ours[row.convention] == row.literature
    verdict = "agrees" if agrees else f"differs: {row.difference or 'unexplained'}"
    if not equal:
        verdict += "; runs differ in " + ", ".join(c for c in CONVENTIONS if len({count[c] for count in counts}) > 1)
    accepted = equal and agrees != bool(row.difference)
    numbers = [str(ours[c]) for c in CONVENTIONS]
    return [row.name, *numbers, f"{row.literature} {row.convention}", row.reason, verdict], accepted


def runs(row: Row) -> Iterator[dict[str, int]]:
    """The counts of an architecture in evaluation and training mode and for a larger input."""
    model, inputs, forward = built(row.name)
    cases = [(inputs, False), (inputs, True)]
    if row.larger:
        cases.append((torch.zeros(2, 3, row.larger, row.larger, device=inputs.device), False))
    for example, training in cases:
        structure = structure_of(model.train(training), example, forward=forward)
        yield {convention: len(structure.units(convention)) for convention in CONVENTIONS}


def built(name: str) -> tuple[nn.Module, Any, Callable[[nn.Module, Any], Any] | None]:
    """(model, inputs, forward) of an architecture; images are on the meta device, where nothing is computed."""
    library, _, builder = name.partition(" ")
    if library == "transformers":
        from zoo_parts.transformers_models import groups

        problem = next(case.built() for group in groups() for case in group.cases if case.name == builder)
        return problem.model, problem.inputs, problem.forward
    with torch.device("meta"):
        if library == "timm":
            import timm

            model = timm.create_model(builder)
            side = model.pretrained_cfg["input_size"][1]
        else:
            from torchvision.models import get_model

            options = {"init_weights": False} if builder in ("googlenet", "inception_v3") else {}
            model = get_model(builder, weights=None, **options)
            side = 299 if builder == "inception_v3" else 224
    return model, torch.zeros(2, 3, side, side, device="meta"), None


if __name__ == "__main__":
    sys.exit(main())
