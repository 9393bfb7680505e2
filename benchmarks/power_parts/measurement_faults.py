"""Faults in the measurement of a step, and in the draws and statistics of the claims."""

from power_parts.edits import Edit
from power_parts.fault import Fault, fault

_DIRECTION, _RESIDUALS = "measurement.step:Step.direction", "measurement.loss:Objective.residuals"
_TANGENTS, _MOMENTS = "measurement.step:Step.tangent_moments", "measurement.moments:combined_moments"
_FACTORS = "g * self.lr_factors[name] if name in self.lr_factors else g"
_TERMS = 'n_terms = outputs.numel() if self.loss == "mse" else outputs.numel() // outputs.shape[1]'
_LABELS = "torch.randn(self.label_draws, *shape, generator=generator).to(like)"
_PER_TAP = "theorem-1.prefactor-free-of-kernel-per-tap"

MEASUREMENT_FAULTS: dict[str, Fault] = {
    "a learning-rate factor lost": fault(_PER_TAP, _DIRECTION, "if not self.lr_factors:", "if True:"),
    "learning-rate factor of one layer lost": fault(
        _PER_TAP, _DIRECTION, _FACTORS,
        'g * self.lr_factors[name] if name in self.lr_factors and name != "layers.2.weight" else g',
    ),
    "learning-rate factors applied twice": fault(
        _PER_TAP, _DIRECTION, _FACTORS, "g * self.lr_factors[name] ** 2 if name in self.lr_factors else g"
    ),
    "a layer left out of the step": fault(
        "law.field-2d-zero", _DIRECTION, "if self.optimizer is not None:",
        "first = next(iter(gradient))\n    gradient = {**gradient, first: torch.zeros_like(gradient[first])}\n"
        "    if self.optimizer is not None:",
    ),
    "loss summed instead of averaged": fault("law.field-2d-zero", _RESIDUALS, _TERMS, "n_terms = 1"),
    "half of the mean squared error lost": fault(
        "law.field-2d-zero", _RESIDUALS, _TERMS,
        'n_terms = outputs.numel() / 2 if self.loss == "mse" else outputs.numel() // outputs.shape[1]',
    ),
    "loss averaged over the batch only": fault(
        "law.field-2d-zero", _RESIDUALS, _TERMS, "n_terms = len(outputs)"
    ),
    "outputs not left out of the label part": fault(
        "law.field-2d-zero", _RESIDUALS, 'rows = label if self.part == "label" else output - label',
        "rows = output - label",
    ),
    "one label for all positions": fault(
        "law.field-2d-zero", "measurement.loss:Objective.draw_labels", _LABELS,
        f"{_LABELS}[..., :1].expand(self.label_draws, *shape).contiguous()",
    ),
    "labels with a variance 10 % too large": fault(
        "law.field-2d-zero", "measurement.loss:Objective.draw_labels", _LABELS, f"1.1**0.5 * {_LABELS}"
    ),
    "labels with a mean of 0.5": fault(
        "law.plain-batch", "measurement.loss:Objective.draw_labels", _LABELS, f"0.5 + {_LABELS}"
    ),
    "S not squared": fault("law.field-2d-zero", _MOMENTS, "S = sums[:n_units]", "S = sums[:n_units] ** 0.5"),
    "S summed over the label draws": fault(
        "law.plain-batch", _MOMENTS, "np.mean(drawn, axis=0)", "np.sum(drawn, axis=0)"
    ),
    "S summed over the positions of a unit": fault(
        "law.field-2d-zero", _TANGENTS, "square / z.numel()", "square / z.shape[:2].numel()"
    ),
    "S averaged over units of the wrong layer": fault(
        "law.field-2d-zero", "measurement.observation:resolved_units",
        "return units_of(model, structure_of(model, state=state))",
        'return (*units_of(model, structure_of(model, state=state))[1:], "readout")',
    ),
    "sum over the units in place of the mean": fault(
        "law.plain-dense", "measurement.moments:UpdateMoments.S_bar", "self.S.mean()", "self.S.sum()"
    ),
    "last unit in place of the mean over the units": fault(
        "law.plain-dense", "measurement.moments:UpdateMoments.S_bar", "self.S.mean()", "self.S[-1]"
    ),
    "dropout mask redrawn between the passes of one method": fault(
        "theorem-3.dropout", _TANGENTS, 'seeded("masks", stream)', 'seeded("other masks", stream)',
        "the comparison of the two passes (`measurement.jvp_error`) rejects the result, and the method \"difference\" "
        "measures the right value",
    ),
    "dropout mask redrawn between passes": Fault(
        claim="theorem-3.dropout",
        edits=(
            Edit(where=f"ammup.{_TANGENTS}", old='seeded("masks", stream)', new='seeded("other masks", stream)'),
            Edit(where="ammup.measurement.difference:Difference.outputs_at", old='seeded("masks", self.stream)',
                 new='seeded("other masks", self.stream)'),
        ),
        remark="it changes η* by about the same factor at both depths; as for the other faults of dropout, a law "
        "would be needed",
    ),
    "second moments of an average of the labels": fault(
        "lemma-2.sum", _RESIDUALS, "label = (y if drawn else y[None]) / n_terms",
        "label = (y.mean(0, keepdim=True) if drawn else y[None]) / n_terms",
    ),
    "control variate added in place of subtracted": fault(
        "law.plain-dense", "stats.equivalence:controlled", "values - slope", "values + slope",
        "it increases the standard error and not the mean; the comparison of the same seeds detects it",
    ),
    "expectation of the control variate forgotten": fault(
        "law.plain-dense", "stats.equivalence:controlled", "slope * (control - expected)", "slope * control"
    ),
    "mean of the logs in place of the log of the mean": fault(
        "theorem-2.width", "claims.statistics:log_lr_star", "np.log(rows.mean(axis=0))", "np.log(rows).mean(axis=0)"
    ),
    "slope against L + 1": fault(
        "theorem-1.effective-depth-1d", "claims.statistics:_slope_weights",
        "np.log(np.asarray(x, dtype=np.float64))", "np.log(1 + np.asarray(x, dtype=np.float64))",
    ),
    "standard error ten times too small": fault(
        "law.field-2d-zero", "stats.equivalence:jackknife", "se=float(jackknife_error(parts))",
        "se=float(jackknife_error(parts)) / 10",
        "the estimates are right and the intervals too short: `tests/stats/test_equivalence.py` detects it, and so "
        "does the scatter over the seed roots above",
    ),
    "a sharpness of the loss summed instead of averaged": fault(
        "sharpness.law-plain", "measurement.loss_curvature:Outputs.n_terms", "z = self.tensors[0]", "return 1"
    ),
    "wrong second derivative of the loss": fault(
        "sharpness.law-cnn", "measurement.loss_curvature:Outputs.hessian_product",
        "p * (u[0] - (p * u[0]).sum(1, keepdim=True)) / n", "p * u[0] / n**2",
    ),
    "eigenvalue of the first product, without iteration": fault(
        "sharpness.linear-net", "measurement.eigenvalue:largest_eigenpair",
        "vector = _by_arpack(LinearOperator((size, size), matvec=checked, dtype=np.float64), first, tolerance, "
        "symmetric)", "vector = first",
    ),
}  # fmt: skip
