"""torchvision's MobileNetV2 with one stage of as many blocks as asked for."""

from torch import nn
from torchvision.models import MobileNetV2
from torchvision.models.mobilenetv2 import InvertedResidual


def make_net(depth: int) -> nn.Module:
    net = MobileNetV2(num_classes=10, inverted_residual_setting=[[1, 32, 1, 1], [2, 32, depth, 1]], dropout=0.0)
    net.features[0][0].stride = (1, 1)
    for block in net.modules():
        if isinstance(block, InvertedResidual):
            nn.init.ones_(block.conv[-1].weight)
    return net
