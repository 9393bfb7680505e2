"""The accuracy of `measure_sharpness`: small nets with their full matrices, and linear nets in closed form."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian, jacobian

from ammup.arrays import Array
from ammup.claims.claim import Claim
from ammup.claims.draws import Seeds
from ammup.measurement.curvature import MATRICES
from ammup.measurement.sharpness import measure_sharpness
from ammup.models.families import cnn, mlp
from ammup.stats.equivalence import Region

WHERE = "measurement of the sharpness (ours)"
TOLERANCES = (0.1, 1e-2, 1e-4)


def _largest_full(matrix: str, model: nn.Module, inputs: Tensor, classes: Tensor) -> float:
    """The largest eigenvalue for cross-entropy, from all second derivatives."""
    weights = {name: p.detach() for name, p in model.named_parameters()}
    sizes = [w.numel() for w in weights.values()]
    flat = torch.cat([w.reshape(-1) for w in weights.values()])

    def outputs(vector: Tensor) -> Tensor:
        parts = zip(weights.items(), torch.split(vector, sizes), strict=True)
        given = {name: part.view_as(w) for (name, w), part in parts}
        result: Tensor = torch.func.functional_call(model, given, (inputs,))
        return result

    if matrix == "hessian":
        full = hessian(lambda v: nn.functional.cross_entropy(outputs(v), classes), flat)  # type: ignore[no-untyped-call]
    else:
        J = jacobian(outputs, flat)  # type: ignore[no-untyped-call]
        p = outputs(flat).softmax(1)
        H = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        product = J if matrix == "ntk" else torch.einsum("bij,bjw->biw", H, J)
        full = torch.einsum("biv,biw->vw", J, product) / len(inputs)
    return float(torch.linalg.eigvalsh(full)[-1])


def _small_net(seed: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A small net in float64, dense or convolutional by turns, with inputs and classes."""
    generator = torch.Generator().manual_seed(seed)
    if seed % 2:
        net: nn.Module = mlp(2, in_features=6, out_features=3, width=4, readout="he", activation="gelu", seed=seed)
        inputs = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    else:
        net = cnn(2, in_channels=1, out_channels=3, width=4, readout="he", activation="gelu", seed=seed)
        inputs = torch.randn(4, 1, 3, 3, generator=generator, dtype=torch.float64)
    return net.double(), inputs, torch.randint(3, (4,), generator=generator)


def _error_over_tolerance(seeds: Seeds) -> Array:
    """Rows with one column for each matrix and tolerance: |λ - exact λ| / (tolerance · exact λ)."""
    rows = []
    for seed in seeds:
        net, inputs, classes = _small_net(seed)
        row = []
        for matrix in MATRICES:
            exact = _largest_full(matrix, net, inputs, classes)
            for tolerance in TOLERANCES:
                measured = measure_sharpness(
                    net, inputs, classes, loss="cross_entropy", matrix=matrix, tolerance=tolerance
                )
                row.append(abs(measured.eigenvalue / exact - 1) / tolerance)
        rows.append(row)
    return np.array(rows)


def _linear_closed_form(seeds: Seeds) -> Array:
    """Rows with the relative difference of the measured λ of linear nets from that of Σ_h A_h ⊗ G_h / (B M)."""
    rows = []
    for seed in seeds:
        net = mlp(4, width=12, in_features=8, out_features=3, activation="linear", readout="he", seed=seed).double()
        x = torch.randn(5, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        matrices = [p.detach() for p in net.parameters()]
        total = torch.zeros(15, 15, dtype=torch.float64)
        for h in range(len(matrices)):
            before, after = x, torch.eye(3, dtype=torch.float64)
            for W in matrices[:h]:
                before = before @ W.T
            for W in reversed(matrices[h + 1 :]):
                after = after @ W
            total += torch.kron(after @ after.T, before @ before.T)
        exact = float(torch.linalg.eigvalsh(total)[-1]) / 15
        rows.append([abs(float(measure_sharpness(net, x, loss="mse", tolerance=1e-6)) / exact - 1)])
    return np.array(rows)


CLAIMS = (
    Claim(
        id="sharpness.tolerance",
        where=WHERE,
        statement="the largest eigenvalue is measured with a relative error below the requested tolerance",
        regime="8 random GELU nets with 2 layers of width 4, dense or 2D 3×3, 4 samples, cross-entropy; Gauss-Newton "
        "matrix, Hessian and NTK; tolerances 0.1, 0.01, 0.0001; compared with the eigenvalues of the full matrix",
        estimator="largest ratio of the relative error to the tolerance",
        rows=_error_over_tolerance,
        statistic=np.max,
        stated=Region(low=0, high=1),
        n=8,
        exact=True,
    ),
    Claim(
        id="sharpness.linear-net",
        where=WHERE,
        statement="the largest NTK eigenvalue of a linear net is that of Σ_h A_h ⊗ G_h / (B M), where A_h is the Gram "
        "matrix of the product of the weights after layer h, and G_h that of the inputs of layer h",
        regime="4 random linear dense nets with 4 layers of width 12, 5 samples, 3 outputs, mse; tolerance 1e-6",
        estimator="largest relative difference",
        rows=_linear_closed_form,
        statistic=np.max,
        stated=Region(low=0, high=1e-6),
        n=4,
        exact=True,
    ),
)
