"""The settings that several statements share, and the margins of their exponents."""

from ammup.claims.draws import Setting

# Margin of every exponent of a plain net, and of every difference between two exponents.
SLOPE_MARGIN, DIFFERENCE_MARGIN = 0.15, 0.2

# Plain nets: dense, one-dimensional and two-dimensional on white noise, and pooled on images.
MLP = Setting(
    family="mlp",
    depths=(2, 4, 8, 16),
    inputs=("ones", 256),
    arguments=(("width", 256), ("in_features", 256), ("out_features", 256), ("readout", "he")),
)
LINE = Setting(
    family="cnn",
    depths=(2, 4, 8),
    inputs=("noise", 1, 128, 8),
    arguments=(("width", 128), ("dims", 1), ("in_channels", 128), ("out_channels", 128), ("head", "field"),
               ("readout", "he")),
)  # fmt: skip
FIELD = Setting(
    family="cnn",
    depths=(4,),
    inputs=("noise", 1, 64, 5, 5),
    arguments=(("width", 64), ("in_channels", 64), ("out_channels", 64), ("head", "field"), ("readout", "he")),
)
PLANE = Setting(
    family="cnn",
    depths=(2, 4, 8),
    inputs=("images", 4, 6),
    arguments=(("width", 128),),
    loss="cross_entropy",
    part="total",
    classes=True,
)
# The offsets of a kernel in the shape of a plus.
PLUS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))

# Residual nets: dense, and two-dimensional on images.
DENSE = Setting(
    family="resnet",
    depths=(4, 8, 16),
    inputs=("ones", 256),
    arguments=(("dims", 0), ("width", 256), ("in_channels", 256), ("out_channels", 256), ("readout", "he")),
)
IMAGES = Setting(
    family="resnet",
    depths=(4, 16),
    inputs=("images", 4, 4),
    arguments=(("width", 64),),
    loss="cross_entropy",
    part="total",
    classes=True,
)
