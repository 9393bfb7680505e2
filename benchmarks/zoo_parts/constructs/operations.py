"""Tensor operations that people put between layers."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_parts.case import Group
from zoo_parts.constructs.common import dense, vectors

operations = Group("tensor operations")
activations = Group("activations")


def _scatter(x: Tensor) -> Tensor:
    index = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3]).expand_as(x)
    return torch.zeros_like(x).scatter_add(1, index, x) + x


def _index_put(x: Tensor) -> Tensor:
    out = x.clone()
    out[:, ::2] = out[:, ::2] * 2
    out[out > 1] = 1.0
    return out


def _segments(x: Tensor) -> Tensor:
    """Means over groups of samples, as in graph nets."""
    groups = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2])
    sums = torch.zeros(3, 8).to(x).index_add(0, groups, x)
    return x + (sums / torch.bincount(groups)[:, None])[groups]


def _adjacency(x: Tensor) -> Tensor:
    """One step of message passing with a sparse matrix."""
    edges = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 7, 0]])
    matrix = torch.sparse_coo_tensor(edges, torch.ones(8).to(x), (8, 8))
    return x + torch.sparse.mm(matrix, x)


def _unique(x: Tensor) -> Tensor:
    _, inverse = torch.unique(x.detach().argmax(1), return_inverse=True)
    return x * (1 + 0.1 * inverse[:, None])


def _sinkhorn(x: Tensor) -> Tensor:
    for _ in range(5):
        x = x - x.logsumexp(1, keepdim=True)
        x = x - x.logsumexp(0, keepdim=True)
    return 8 * x.exp()


def _in_place(x: Tensor) -> Tensor:
    x = x * 1.0
    x.mul_(2).add_(1)
    x[:, 0].tanh_()
    return x


def _captured(x: Tensor) -> Tensor:
    buffer = torch.zeros(len(x), 8).to(x)
    for i in range(8):
        buffer[:, i] = x[:, i] * (i + 1)
    return buffer / 4


FUNCTIONS: dict[str, Any] = {
    "einsum": lambda x: torch.einsum("bi,bj->bij", x, x).sum(2),
    "scatter_add": _scatter,
    "gather": lambda x: x.gather(1, x.argsort(1)),
    "index_put": _index_put,
    "index_select": lambda x: x.index_select(1, torch.tensor([1, 0, 3, 2, 5, 4, 7, 6])),
    "take_along_dimension": lambda x: torch.take_along_dim(x, x.abs().argsort(1), 1),
    "segment_means": _segments,
    "sparse_message_passing": _adjacency,
    "cumulative_sum": lambda x: x.cumsum(1) / 4,
    "cumulative_product": lambda x: (1 + 0.1 * x).cumprod(1),
    "cumulative_maximum": lambda x: x.cummax(1).values,
    "logcumsumexp": lambda x: x.logcumsumexp(1),
    "sort": lambda x: x.sort(1).values,
    "topk_mask": lambda x: x * torch.zeros_like(x).scatter(1, x.topk(4, 1).indices, 1.0),
    "kth_value": lambda x: x - x.kthvalue(4, 1, keepdim=True).values,
    "median": lambda x: x - x.median(1, keepdim=True).values,
    "quantile": lambda x: x - x.quantile(0.3, 1, keepdim=True),
    "unique": _unique,
    "where": lambda x: torch.where(x > 0, x, 0.1 * x.exp()),
    "boolean_mask": lambda x: x.masked_fill(x < -0.5, -0.5),
    "split_and_concatenate": lambda x: torch.cat(x.split(3, 1)[::-1], 1),
    "stack_and_unbind": lambda x: torch.stack(x.unbind(1)[::-1], 1),
    "outer_power": lambda x: x + torch.bmm(x[:, :, None], x[:, None]).mean(2),
    "distances": lambda x: torch.cdist(x, torch.eye(8).to(x)),
    "own_distances": lambda x: (x[:, None] - torch.eye(8).to(x)).norm(dim=2),
    "cosine_similarity": lambda x: 4 * F.cosine_similarity(x[:, None], torch.eye(8).to(x) + 0.1, dim=2),
    "log_determinant": lambda x: x + torch.logdet(torch.eye(8).to(x) + x[:, :, None] * x[:, None] / 8)[:, None],
    "matrix_inverse": lambda x: torch.linalg.solve(torch.eye(8).to(x) * 4 + x, x),
    "cholesky": lambda x: x @ torch.linalg.cholesky(x.T @ x / 8 + torch.eye(8).to(x)),
    "eigenvalues": lambda x: x + torch.linalg.eigvalsh(x.T @ x / 8),
    "singular_values": lambda x: x + torch.linalg.svdvals(x),
    "orthogonal_basis": lambda x: 3 * torch.linalg.qr(x + 3 * torch.eye(8).to(x))[0],
    "fourier_transform": lambda x: torch.fft.rfft(x, dim=1).abs().repeat(1, 2)[:, :8],
    "cosine_transform": lambda x: torch.fft.hfft(x.to(torch.complex64), n=8, dim=1) / 2,
    "short_time_transform": lambda x: (
        torch.stft(x.flatten(), 14, 8, window=torch.ones(14).to(x), return_complex=True).abs()[:, :8].T
    ),
    "interpolate": lambda x: F.interpolate(x[:, None], size=8, mode="linear")[:, 0] + x,
    "pad": lambda x: F.pad(x, (2, 2), mode="constant")[:, 1:9],
    "roll": lambda x: x.roll(1, 1) + x,
    "expand_and_strides": lambda x: x.as_strided((8, 8), (1, 8)),
    "sinkhorn": _sinkhorn,
    "logsumexp": lambda x: x - x.logsumexp(1, keepdim=True),
    "softmax": lambda x: 8 * x.softmax(1),
    "norm_of_everything": lambda x: x / torch.norm(x),
    "spherical_projection": lambda x: 3 * x / x.norm(p=2, dim=1, keepdim=True).clamp_min(1e-6),
    "maximum_of_two": lambda x: torch.maximum(x, x.flip(1)),
    "clamp": lambda x: x.clamp(-0.5, 0.8),
    "in_place_chain": _in_place,
    "in_place_columns": _captured,
    "bucketize": lambda x: x * torch.bucketize(x.detach(), torch.linspace(-2, 2, 5).to(x)),
    "searched_histogram": lambda x: x + torch.histc(x.detach().float(), 8).to(x) / 8,
    "trapezoid": lambda x: torch.cumulative_trapezoid(F.pad(x, (1, 0)), dim=1),
    "gradient_along_axis": lambda x: torch.gradient(x, dim=1)[0] + x,
    "kronecker_product": lambda x: torch.kron(x, torch.ones(1, 2).to(x))[:, :8],
    "cross_product": lambda x: torch.cat([torch.linalg.cross(x[:, :3], x[:, 3:6]), x[:, :5]], 1),
    "polygamma_and_lgamma": lambda x: torch.lgamma(x.abs() + 1),
    "error_function": lambda x: torch.erf(x) + torch.special.i0e(x),
    "vmap_of_function": lambda x: torch.func.vmap(lambda row: row * row.sum())(x),
    "nested_tensor": lambda x: torch.nested.nested_tensor_from_jagged(x, torch.tensor([0, 3, 8])).values() * 2,
}
for _name, _function in FUNCTIONS.items():
    operations.add(_name, lambda function=_function: vectors(dense(nn.Linear(8, 8), function, nn.Linear(8, 8))))

ACTIVATIONS: dict[str, Any] = {
    "relu": nn.ReLU,
    "relu_in_place": lambda: nn.ReLU(inplace=True),
    "leaky_relu": lambda: nn.LeakyReLU(0.1),
    "prelu": lambda: nn.PReLU(8),
    "celu": nn.CELU,
    "gelu_tanh": lambda: nn.GELU("tanh"),
    "hardshrink": lambda: nn.Hardshrink(0.3),
    "softshrink": lambda: nn.Softshrink(0.1),
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "mish": nn.Mish,
    "silu_in_place": lambda: nn.SiLU(inplace=True),
    "softplus": lambda: nn.Softplus(beta=3),
    "softsign": nn.Softsign,
    "threshold": lambda: nn.Threshold(0.1, 0.0),
    "log_sigmoid": nn.LogSigmoid,
    "relu6_in_place": lambda: nn.ReLU6(inplace=True),
    "lambda_sine": lambda: lambda x: torch.sin(3 * x),
    "lambda_square": lambda: lambda x: x.relu().square(),
    "softmin": lambda: nn.Softmin(1),
}
for _name, _make in ACTIVATIONS.items():
    activations.add(f"activation_{_name}", lambda make=_make: vectors(dense(make(), nn.Linear(8, 8))))
