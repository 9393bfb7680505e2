"""The training of benchmarks/peers/training.py in JAX: jit(vmap over learning rates of scan over minibatches)."""

from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from benchmarks.peers.ways import Case, Prepared


def _conv(z: Any, w: Any) -> Any:
    pads = [(0, 0), (0, 0), *((side // 2, side // 2) for side in w.shape[2:])]
    return lax.conv_general_dilated(jnp.pad(z, pads, mode="wrap"), w, (1, 1), "VALID")


def _mlp(hidden: list[Any], x: Any) -> Any:
    z = x.reshape(len(x), -1)
    for i, w in enumerate(hidden):
        z = (jax.nn.relu(z) if i else z) @ w.T
    return jax.nn.relu(z)


def _cnn(hidden: list[Any], x: Any) -> Any:
    z = x
    for i, w in enumerate(hidden):
        z = _conv(jax.nn.relu(z) if i else z, w)
    return jax.nn.relu(z).mean((2, 3))


def _resnet(hidden: list[Any], x: Any) -> Any:
    z = _conv(x, hidden[0])
    for first, second in zip(hidden[1::2], hidden[2::2], strict=True):
        z = z + _conv(jax.nn.relu(_conv(jax.nn.relu(z), first)), second)
    return jax.nn.relu(z).mean((2, 3))


FEATURES = {"mlp": _mlp, "cnn": _cnn, "resnet": _resnet}


def in_jax(case: Case) -> Prepared:
    """Training of all replicas in JAX, from the initial weights of torch."""
    jax.config.update("jax_enable_x64", case.dtype == "float64")
    dtype = "float64" if case.dtype == "float64" else "float32"
    lower = jnp.bfloat16 if case.dtype == "bfloat16" else dtype  # what products are computed in, as in autocast
    # By default, JAX computes float32 products of a GPU in TF32.
    jax.config.update("jax_default_matmul_precision", "tensorfloat32" if case.dtype == "tf32" else "highest")
    start = {name: jnp.asarray(p.detach().numpy(), dtype=dtype) for name, p in case.model().named_parameters()}
    *hidden, readout = start
    images, labels = (
        jnp.stack([jnp.asarray(part.numpy()) for part in parts]) for parts in zip(*case.batches(), strict=True)
    )

    def loss(weights: dict[str, Any], x: Any, y: Any) -> Any:
        features = FEATURES[case.family]([weights[name].astype(lower) for name in hidden], x.astype(lower))
        logits = (features @ weights[readout].astype(lower).T).astype(dtype)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean()

    def train(lr: Any) -> Any:
        def step(weights: Any, batch: Any) -> Any:
            gradients = jax.grad(loss)(weights, *batch)
            return {name: w - lr * gradients[name] for name, w in weights.items()}, None

        return lax.scan(step, start, (images, labels))[0]

    grid = jax.jit(jax.vmap(train))
    lrs = jnp.asarray(case.lrs, dtype=dtype)
    return Prepared(
        run=lambda: jax.block_until_ready(grid(lrs)),
        weights=lambda p: [{n: np.asarray(w[i]) for n, w in p.items()} for i in range(case.replicas)],
    )
