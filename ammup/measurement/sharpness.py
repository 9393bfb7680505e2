"""`measure_sharpness`: the largest eigenvalue of the curvature of the loss, and the largest stable learning rate.

The eigenvalue is computed by SciPy's `eigsh` (ARPACK's implicitly restarted Lanczos) from products of the matrix with
vectors (:mod:`ammup.measurement.curvature`). The operators of curvlinops 3.0 were compared and are not used, because
they do not serve every model that can be trained: they compute all products by `vmap` of `torch.func.jvp`, which needs
a forward-mode rule for every operation; each product runs the model twice, so that dropout draws two masks for one
product and batch norm updates its statistics under `vmap`, which raises an error; the matrices have no learning rates
of parameters or preconditioners; and the loss must be a module with a reduction. (A net with batch norm in training
mode, one with dropout and one with an ordinary `autograd.Function` were tried: all three failed.)

The matrix is never stored. The iteration stores about 12 vectors of all weights in float64, which is 100 bytes for each
weight; a product is two backward passes.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ammup.arrays import Array
from ammup.errors import InputError, check_known
from ammup.measurement.curvature import (
    MATRICES,
    BackwardCurvature,
    Curvature,
    DifferenceCurvature,
    NotDifferentiableError,
)
from ammup.measurement.eigenvalue import Eigenpair, largest_eigenpair
from ammup.measurement.first_step import FirstStep, OptimizerLike
from ammup.measurement.jvp_error import relative_difference
from ammup.measurement.loss import Loss, Targets
from ammup.measurement.method import LARGEST_ERROR, reason_against_jvp
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.stability import Stability
from ammup.models.depth import Forward
from ammup.models.precision import DOUBLE, in_double_precision
from ammup.models.state import check_initialized, preserved
from ammup.models.streams import random_stream
from ammup.models.wrappers import inner_name, unwrapped

if TYPE_CHECKING:  # imported when a table is made
    import pandas as pd

METHODS = ("auto", "backward", "difference")


@dataclass(frozen=True, kw_only=True)
class Sharpness:
    """The largest eigenvalue of a curvature matrix; ``float(sharpness)`` is that eigenvalue.

    Attributes:
        eigenvalue: λ, the largest eigenvalue.
        error: bound of its error: the norm of the residual Mv - λv for the unit eigenvector v, plus the estimated
            numerical error of the product. An eigenvalue of the matrix lies within this distance.
        passes: the number of forward and backward passes through the model that were made.
        matrix: "gauss-newton", "hessian" or "ntk".
        limit: the largest stable product of learning rate and eigenvalue; 2 for gradient descent.
        method: "backward" or "difference"; see :mod:`ammup.measurement.curvature`.
        reason: why "difference" was used instead of "backward"; empty for "backward".
    """

    eigenvalue: float
    error: float
    passes: int
    matrix: str
    limit: float = 2.0
    method: str = "backward"
    reason: str = ""

    @property
    def edge(self) -> float:
        """The edge of stability: limit / λ, which is 2/λ for gradient descent; infinite if no eigenvalue is positive.

        With an optimizer, it is the learning rate of the first group at which the next steps become unstable.
        """
        return self.limit / self.eigenvalue if self.eigenvalue > 0 else float("inf")

    def __float__(self) -> float:
        return self.eigenvalue

    def __repr__(self) -> str:
        value, error = f"{self.eigenvalue:.6g}", f"{self.error:.2g}"
        return f"Sharpness({value} ± {error}, edge={self.edge:.4g}, matrix={self.matrix!r}, passes={self.passes})"

    def to_frame(self) -> "pd.DataFrame":
        """One row: the attributes, and edge."""
        import pandas as pd

        return pd.DataFrame([{**asdict(self), "edge": self.edge}])


def measure_sharpness(
    model: nn.Module,
    inputs: Any,
    targets: Targets | None = None,
    *,
    loss: Loss | None = None,
    matrix: str = "gauss-newton",
    lr_factors: Mapping[str, float] | None = None,
    optimizer: OptimizerLike | None = None,
    forward: Forward | None = None,
    seed: int = 0,
    tolerance: float = 1e-2,
    method: str = "auto",
) -> Sharpness:
    """The largest eigenvalue λ of the curvature of the loss on one batch, and the learning rate 2/λ.

    Gradient descent with a learning rate above 2/λ diverges along the eigenvector if the loss is quadratic. In training
    on minibatches, the learning rate at which a net stops training is several times 2/λ at initialization.

    Args:
        model: any module that :func:`ammup.measure_updates` accepts; it is restored afterwards, and so are the random
            generators. Training flags are respected: in training mode, batch norm uses batch statistics, whose
            derivatives are included, and dropout uses the same mask for all products. Frozen weights are constants.
        inputs: (B, …); with ``forward``, any structure of tensors.
        targets: as in :func:`ammup.measure_updates`. The Gauss-Newton matrix of mse and cross-entropy, and the NTK, do
            not depend on them. Without targets, the Hessian is that of one drawn label per sample.
        loss: "mse" (the paper's: half the mean squared error), "cross_entropy" or a callable, whose Gauss-Newton matrix
            has its own second derivatives with respect to all tensors in the outputs. None is "mse"; class indices need
            a loss.
        matrix: "gauss-newton", JᵀHJ with the Jacobian J of the outputs and the second derivative H of the loss with
            respect to them; "hessian" of the loss; or "ntk", JᵀJ / n, which has the eigenvalues of the tangent kernel
            JJᵀ / n. n is the number of terms of which the loss is the mean: outputs for mse, samples (and positions)
            for other losses. For mse it equals "gauss-newton".
        lr_factors: factor of the learning rate of some weights, by parameter name; 1 for the others.
        optimizer: ``optimizer(params, lr)``, or an optimizer of this model in the middle of training: SGD, Adam, AdamW
            or RMSprop. λ is then an eigenvalue of P⁻¹ M, where P is the preconditioner of the next step, and ``edge``
            depends on the momentum; see :mod:`ammup.measurement.stability`. The limits assume that P changes slowly,
            which is not so in the first steps of Adam. Decoupled weight decay (AdamW) is neglected.
        forward: ``forward(model, inputs)`` -> outputs.
        seed: seed of the drawn labels, of dropout and of the first vector of the iteration.
        tolerance: the largest relative error bound at which the iteration stops. The error itself is usually much
            smaller, about the square of the bound.
        method: "backward", "difference", or "auto", which uses "backward" if it is reliable for this model; see
            :mod:`ammup.measurement.curvature`.

    Returns:
        The eigenvalue with its error bound and its cost in passes.

    Raises:
        InputError: an argument is invalid, the model fails, the matrix is zero or not finite, or the iteration does not
            converge.

    Example:
        >>> import ammup, torch
        >>> net = torch.nn.Linear(3, 2, bias=False)
        >>> x = torch.diag(torch.tensor([1.0, 2.0, 3.0]))
        >>> sharpness = ammup.measure_sharpness(net, x, torch.zeros(3, 2), loss="mse")
        >>> round(float(sharpness), 4), round(sharpness.edge, 4)  # largest eigenvalue of xᵀx is 9, of 6 outputs
        (1.5, 1.3333)
    """
    check_known("matrix", matrix, MATRICES)
    check_known("method", method, METHODS)
    wrapper, model = model, unwrapped(model)
    name_of = inner_name if model is not wrapper else str
    if not 1e-12 <= tolerance < 1:
        raise InputError(f"tolerance={tolerance} must be a relative error from 1e-12 to 1, such as 0.01")
    spec = MeasurementSpec(
        inputs=inputs,
        targets=targets,
        loss=loss,
        lr_factors={name_of(name): factor for name, factor in (lr_factors or {}).items()},
        forward=forward,
        optimizer=optimizer,
    )
    return SharpnessMeasurement(spec=spec, matrix=matrix, stream=seed, tolerance=tolerance, model=model).by_method(
        method
    )


@dataclass(frozen=True, kw_only=True)
class SharpnessMeasurement:
    """The arguments of :func:`measure_sharpness`, except that any key ``stream`` takes the place of the seed."""

    model: nn.Module
    spec: MeasurementSpec
    matrix: str = "gauss-newton"
    stream: object = 0
    tolerance: float = 1e-2

    def by_method(self, method: str = "auto") -> Sharpness:
        """The sharpness by "backward", "difference" or "auto"."""
        check_initialized(self.model)
        reason = "method='difference' was requested" if method == "difference" else ""
        if method == "auto":
            reason = _hooked_weight(self.model)
        if not reason:
            try:
                result = self._by_backward(unsure=method == "auto" and bool(reason_against_jvp(self.model, self.spec)))
            except NotDifferentiableError as error:
                if method == "backward":
                    raise InputError(
                        f"the backward pass cannot be differentiated: {error}; use method='auto'"
                    ) from error
                reason = f"the backward pass cannot be differentiated: {error}"
            else:
                if result is not None:
                    return result
                reason = "the derivative of the backward pass disagrees with finite differences"
        return replace(
            in_double_precision(self.model, lambda _problem: self._difference()), method="difference", reason=reason
        )

    def _by_backward(self, *, unsure: bool) -> Sharpness | None:
        """The sharpness by the method "backward"; None if it is wrong for this model, which ``unsure`` checks."""
        half = any(p.dtype in (torch.float16, torch.bfloat16) for p in self.model.parameters())
        if half or unsure:
            return in_double_precision(self.model, lambda _problem: self._backward(unsure))
        with preserved(self.model):
            result = self._backward(unsure)
        assert result is not None
        single = any(p.dtype in DOUBLE for p in self.model.parameters())
        if single and result.error > self.tolerance * abs(result.eigenvalue):  # because of rounding errors
            precise = in_double_precision(self.model, lambda _problem: self._backward(unsure))
            assert precise is not None
            result = replace(precise, passes=result.passes + precise.passes)
        return result

    def _backward(self, unsure: bool) -> Sharpness | None:
        stability, passes = self._stability()
        curvature = BackwardCurvature(self.model, self.spec, self.matrix, self.stream)
        pair = self._eigenpair(curvature, stability, symmetric=True)
        form = curvature.quadratic_form(stability.root * pair.vector) + _decay(stability, pair.vector)
        passes += curvature.passes
        error = pair.residual + abs(form - pair.value)
        if unsure:
            compared = DifferenceCurvature(self.model, self.spec, self.matrix, self.stream)
            disagreement = _disagreement(curvature, compared, stability.root * pair.vector)
            passes += compared.passes
            if disagreement > LARGEST_ERROR:
                return None
        return self._sharpness(pair, stability, error, passes)

    def _difference(self) -> Sharpness:
        stability, passes = self._stability()
        curvature = DifferenceCurvature(self.model, self.spec, self.matrix, self.stream)
        pair = self._eigenpair(curvature, stability, symmetric=False)
        curvature.step_factor = 2.0
        image = stability.product(curvature.product, pair.vector)
        error = pair.residual + abs(float(pair.vector @ image) - pair.value)
        return self._sharpness(pair, stability, error, passes + curvature.passes)

    def _stability(self) -> tuple[Stability, int]:
        """The optimizer's part of the matrix, and the number of passes for it."""
        curvature = Curvature(self.model, self.spec, self.matrix, self.stream)
        if self.spec.optimizer is None:
            return Stability.from_factors(curvature.space, self.spec.lr_factors), 0
        step = FirstStep.from_optimizer(self.spec.optimizer, dict(self.model.named_parameters()))
        gradient = curvature.gradient()
        return Stability.from_step(step, curvature.space, gradient, self.spec.lr_factors), curvature.passes

    def _eigenpair(self, curvature: Curvature, stability: Stability, *, symmetric: bool) -> Eigenpair:
        start = torch.randn(curvature.space.size, generator=random_stream("start", self.stream), dtype=torch.float64)
        # Half of the tolerance is left to rounding errors.
        return largest_eigenpair(
            lambda v: stability.product(curvature.product, v),
            start.numpy(),
            tolerance=self.tolerance / 2,
            symmetric=symmetric,
        )

    def _sharpness(self, pair: Eigenpair, stability: Stability, error: float, passes: int) -> Sharpness:
        return Sharpness(eigenvalue=pair.value, error=error, passes=passes, matrix=self.matrix, limit=stability.limit)


def _disagreement(curvature: BackwardCurvature, compared: DifferenceCurvature, vector: Array) -> float:
    """The relative difference of Jv between both methods."""
    # First the differences: they restore the state of the model, whose tensors the graph of the other method may need.
    expected = torch.cat([u.reshape(-1) for u in compared.jacobian(vector)])
    found = torch.cat([u.reshape(-1) for u in curvature.jacobian(vector)])
    return float(relative_difference(found, expected))


def _decay(stability: Stability, vector: Array) -> float:
    """The contribution of the weight decay to the quadratic form of a vector."""
    return float(((stability.root * vector) ** 2) @ stability.decay)


def _hooked_weight(model: nn.Module) -> str:
    """Which weight has hooks that may change its gradient; empty if none has."""
    for name, p in model.named_parameters():
        if p._backward_hooks or p._post_accumulate_grad_hooks:
            return f"{name} has hooks on its gradient"
    return ""
