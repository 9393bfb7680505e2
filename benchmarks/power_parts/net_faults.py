"""Faults in the nets and in the initialization of their weights."""

from power_parts.fault import Fault, fault

_RULE, _DRAW = "models.initialization:_rule", "models.initialization:_draw_"
_INITIALIZE, _CONV = "models.initialization:initialize_", "models.layers:conv"
_BLOCK, _BRANCH = "models.nets:ResidualBlock.forward", "models.nets:ResidualBlock.branch_of"
_SCALED, _NOISE = "c / (n_blocks * fan_in)", "weight.copy_(noise.mul_(variance**0.5))"
_FAN_IN = "fan_in = parameters[layer.weight][0].numel()"
_IS_SCALED = 'layer.role == "last" or (layer.role == "branch" and scaled == "all")'
_PADDING = 'padding_mode="circular" if padding == "circular" else "zeros"'
_DROPOUT = (
    "the claim is that dropout does not change the slope; a law for nets with dropout would be needed, with which the "
    "prefactor could be compared"
)
_STATISTICS = "it changes η* and hardly its slope, for which alone there is a law; a law for batch norm would be needed"
_NEXT = "z = layer(self.activation(z) if i else z)"

VARIANCE_FAULTS: dict[str, Fault] = {
    "residual scaling missing": fault("law.residual-m1", _RULE, _SCALED, "c / fan_in"),
    "residual scaling applied twice": fault("law.residual-m1", _RULE, _SCALED, "c / (n_blocks**2 * fan_in)"),
    "1/sqrt(K) in place of 1/K": fault("law.residual-m1", _RULE, _SCALED, "c / (n_blocks**0.5 * fan_in)"),
    "one block of many not scaled": fault(
        "law.residual-m1", _RULE, _SCALED, 'c / (fan_in * (1 if layer.name.startswith("blocks.1.") else n_blocks))'
    ),
    "all branch layers scaled in place of the last": fault(
        "law.residual-m3-last", _RULE, _IS_SCALED, 'layer.role in ("last", "branch")'
    ),
    "only the last branch layer scaled in place of all": fault(
        "theorem-3.exponent-m2-all", _RULE, _IS_SCALED, 'layer.role == "last"'
    ),
    "residual constant c ignored": fault("lemma-3.recursion", _RULE, _SCALED, "2.0 / (n_blocks * fan_in)"),
    "residual constant c 10 % too large": fault("law.residual-m1", _RULE, _SCALED, "1.1 * c / (n_blocks * fan_in)"),
    "number of blocks too large by one": fault(
        "law.residual-m1", "models.structure:Structure.n_blocks", "len(self._blocks)", "len(self._blocks) + 1"
    ),
    "variance 10 % too large in every layer": fault(
        "lemma-1.invariance-1d-1", _DRAW, _NOISE, "weight.copy_(noise.mul_((1.1 * variance) ** 0.5))"
    ),
    "variance 10 % too small in every layer": fault(
        "lemma-1.invariance-1d-1", _DRAW, _NOISE, "weight.copy_(noise.mul_((0.9 * variance) ** 0.5))"
    ),
    "variance 10 % too large in one layer": fault(
        "law.field-2d-zero", _DRAW, _NOISE,
        'weight.copy_(noise.mul_(((1.1 if name == "layers.1.weight" else 1.0) * variance) ** 0.5))',
    ),
    "variance 5 % too large in one layer": fault(
        "law.field-2d-zero", _DRAW, _NOISE,
        'weight.copy_(noise.mul_(((1.05 if name == "layers.1.weight" else 1.0) * variance) ** 0.5))',
    ),
    "variance 10 % too small in the readout": fault(
        "law.field-2d-zero", _DRAW, _NOISE,
        'weight.copy_(noise.mul_(((0.9 if "readout" in name else 1.0) * variance) ** 0.5))',
    ),
    "standard deviation in place of variance": fault(
        "law.plain-batch", _DRAW, _NOISE, "weight.copy_(noise.mul_(variance))"
    ),
    "weights truncated at two standard deviations": fault(
        "lemma-1.invariance-1d-1", _DRAW, _NOISE, "weight.copy_(noise.clamp_(-2, 2).mul_(variance**0.5))"
    ),
    "uniform weights of this half-width": fault(
        "law.plain-batch", _DRAW, "normal_(0.0, 1.0, generator=generator)", "uniform_(-1.0, 1.0, generator=generator)"
    ),
    "layers of one shape draw the same weights": fault(
        "law.field-1d", _DRAW, "noise = torch.empty",
        "generator = None if generator is None else generator.clone_state() if name == next(iter(variances)) else "
        "generator.manual_seed(generator.initial_seed())\n        noise = torch.empty",
    ),
    "seed of the weights ignored": fault(
        "theorem-1.free-of-width", _INITIALIZE, 'random_stream("weights", index(seed), shapes)',
        'random_stream("weights", shapes)',
    ),
    "fan-out for fan-in": fault(
        "law.plain-batch", _INITIALIZE, _FAN_IN, "fan_in = parameters[layer.weight][:, 0].numel()"
    ),
    "kernel cardinality left out of the fan-in": fault(
        "lemma-1.invariance-1d-5", _INITIALIZE, _FAN_IN, "fan_in = parameters[layer.weight].shape[1]"
    ),
    "gain 1 for 2": fault("lemma-1.invariance-dense", _RULE, '/fan_in", factor / fan_in', '/fan_in", 1 / fan_in'),
    "gain of ReLU for GELU": fault(
        "appendix-e.gelu-slope-forward", _RULE, "variance_gain(activation_moments(layer.activation), gain)", "2.0"
    ),
    "He readout for mean-field": fault(
        "appendix-f.gradient-norm", _RULE, 'if layer.role == "readout" and readout == "mean-field":', "if False:"
    ),
    "mean-field readout for He": fault(
        "law.plain-batch", _RULE, 'if layer.role == "readout" and readout == "mean-field":',
        'if layer.role == "readout":',
    ),
}  # fmt: skip

NET_FAULTS: dict[str, Fault] = {
    "circular padding silently zero": fault("lemma-1.invariance-1d-5", _CONV, _PADDING, 'padding_mode="zeros"'),
    "zero padding silently circular": fault("law.field-2d-zero", _CONV, _PADDING, 'padding_mode="circular"'),
    "dilation ignored": fault(
        "theorem-3.dilation", "models.families:_conv", "dilation=architecture.dilation", "dilation=1",
        "the claim is that dilation does not change the slope, which is trivially true without it; a claim on a net of "
        "which dilation changes the prefactor would detect it",
    ),
    "one tap of a kernel without weight": fault(
        "lemma-1.invariance-2d-plus", "models.layers:SupportConv.__init__", "place[(k, *index)] = 1",
        "place[(k, *index)] = float(k > 0)",
    ),
    "depth off by one": fault("law.plain-dense", "models.families:mlp", "depth=depth,", "depth=depth + 1,"),
    "one layer too few": fault("law.field-1d", "models.families:cnn", "depth=depth,", "depth=max(1, depth - 1),"),
    "one block too few": fault("law.residual-m1", "models.families:resnet", "range(1, depth + 1)", "range(1, depth)"),
    "activation swapped": fault(
        "lemma-1.invariance-dense", "models.layers:activation_module", "return ACTIVATIONS[name]()", "return nn.GELU()"
    ),
    "activation missing in the branches": fault("law.residual-m1", _BRANCH, "self.activation(norm(h))", "norm(h)"),
    "skip scaled by 1/sqrt(2)": fault("law.residual-m1", _BLOCK, "self.skip(z) + h", "0.5**0.5 * self.skip(z) + h"),
    "skip missing in one block of many": fault(
        "law.residual-m1", "models.nets:ResNet.forward", "z = block(z)",
        "z = block.branch_of(z) if block is self.blocks[1] else block(z)",
    ),
    "a batch norm slipped in": fault(
        "theorem-3.exponent-conv", "models.families:_block", "if architecture.batchnorm else ()", "if True else ()"
    ),
    "gradient of one layer detached": fault(
        "law.field-2d-zero", "models.nets:CNN.forward", _NEXT,
        "z = layer((self.activation(z).detach() if i == len(self.layers) - 1 else self.activation(z)) if i else z)",
    ),
    "nonzero biases": fault(
        "lemma-1.invariance-dense", "models.nets:MLP.forward", _NEXT, "z = layer(self.activation(z + 0.5) if i else z)"
    ),
    "sum over positions in place of the mean": fault(
        "law.pooled", "models.nets:MeanOverPositions.forward", "mean(2)", "sum(2)"
    ),
    "half precision used silently": fault(
        "law.field-2d-zero", "models.factory:build_model", "model.to(usable_device(device))",
        "model.to(usable_device(device)).bfloat16()",
        "the rounding errors average out",
    ),
    "dropout not compensated by 1/(1 - rate)": fault(
        "theorem-3.dropout", _BRANCH, "self.dropout(h) if i == last else h",
        "(1 - self.dropout.p) * self.dropout(h) if i == last else h", _DROPOUT,
    ),
    "dropout inactive": fault("theorem-3.dropout", _BRANCH, "self.dropout(h) if i == last else h", "h", _DROPOUT),
    "running statistics in place of batch statistics": fault(
        "theorem-3.batch-norm", "models.families:_block", "norms=[norm(size) for size in sizes[:-1]]",
        "norms=[norm(size).eval() for size in sizes[:-1]]",
    ),
    "batch statistics taken twice": fault(
        "theorem-3.batch-norm", _BRANCH, "self.activation(norm(h))", "self.activation(norm(self.activation(norm(h))))"
    ),
    "statistics of each half of the batch": fault(
        "theorem-3.batch-norm", _BRANCH, "self.activation(norm(h))",
        "self.activation(nn.functional.batch_norm(h.unflatten(0, (2, -1)).transpose(0, 1).flatten(1, 2), None, None, "
        "training=True).unflatten(1, (2, -1)).transpose(0, 1).flatten(0, 1) if isinstance(norm, nn.BatchNorm2d) "
        "else norm(h))", _STATISTICS,
    ),
    "batch statistics without gradient": fault(
        "theorem-3.batch-norm", _BRANCH, "self.activation(norm(h))",
        "self.activation((h - h.mean((0, 2, 3), keepdim=True).detach()) / "
        "(h.var((0, 2, 3), unbiased=False, keepdim=True).detach() + norm.eps).sqrt() "
        "if isinstance(norm, nn.BatchNorm2d) else norm(h))", _STATISTICS,
    ),
}  # fmt: skip
