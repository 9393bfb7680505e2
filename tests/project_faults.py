"""The five projects of tests/projects: their expected slopes, and 23 faults to plant in their source."""

from pathlib import Path

PROJECTS = Path(__file__).parent / "projects"
# (slope, margin) of the correct models: slopes from 128 weight draws (192 for plain_cnn and resnet_1d), ±0.05 to ±0.10.
EXPECTED = {
    "plain_cnn": (-1.67, 0.3),
    "preact_resnet": (-0.66, 0.2),
    "resnet_1d": (-0.91, 0.2),
    "torchvision_net": (-0.67, 0.2),
    "mixer": (-0.71, 0.2),
}
# Each fault replaces one text in the source of a project by another.
FAULTS = {
    "plain_cnn": {
        "kernel cardinality left out of the fan-in": ("conv.in_channels * 9", "conv.in_channels"),
        "no gain for ReLU": ("gain = 2.0 if i else 1.0", "gain = 1.0"),
        "variance for standard deviation": ("math.sqrt(gain / fan_in)", "gain / fan_in"),
        "an accidental skip": ("x = conv(x).relu()", "x = conv(x).relu() + (x if x.shape[1] > 3 else 0)"),
        "one layer too few": ("[width] * depth", "[width] * (depth - 1)"),
    },
    "preact_resnet": {
        "the skip is lost": ("return x + out", "return out"),
        "the sum is divided": ("return x + out", "return (x + out) / 2**0.5"),
        "branches are scaled down": ("return x + out", "return x + out / 8"),
        "normalized behind the sum": ("return x + out", "return self.bn2(x + out)"),
        "blocks squared": ("range(depth)", "range(depth**2 // 2)"),
    },
    "resnet_1d": {
        "not divided by the number of blocks": ("2 / fan_in / n_blocks", "2 / fan_in"),
        "every branch layer divided": ("conv1.weight, std=(2 / fan_in)", "conv1.weight, std=(2 / fan_in / n_blocks)"),
        "kernel cardinality left out of the fan-in": ("fan_in = 3 * width", "fan_in = width"),
        "the skip is halved": ("out += x", "out += 0.5 * x"),
        "the skip is lost": ("        out += x\n", ""),
    },
    "torchvision_net": {
        "branches end in zero": ("nn.init.ones_", "nn.init.zeros_"),
        "the skip is lost": (
            "            nn.init.ones_(block.conv[-1].weight)",
            "            block.use_res_connect = False",
        ),
        "branches fall with depth": ("ones_(block.conv[-1].weight)", "constant_(block.conv[-1].weight, depth**-0.5)"),
    },
    "mixer": {
        "tokens lose their skip": ("x = x + self.tokens", "x = self.tokens"),
        "channels lose their skip": ("return x + self.channels", "return self.channels"),
        "a norm is left out": ("self.channels(self.norm2(x))", "self.channels(x)"),
        "every layer divided": ("std=module.in_features**-0.5", "std=(module.in_features * depth) ** -0.5"),
        "a fixed standard deviation": ("module.in_features**-0.5", "0.02"),
    },
}


def faulty_source(project: str, fault: str) -> str:
    """The source of a project with a fault."""
    source = source_of(project)
    right, wrong = FAULTS[project][fault]
    assert source.count(right) == 1
    return source.replace(right, wrong)


def source_of(project: str) -> str:
    """The source of a correct project."""
    return (PROJECTS / f"{project}.py").read_text(encoding="utf-8")
