"""Other readings of the paper's residual scaling."""

import pytest
import torch

import ammup
from ammup.models.readings import FIXED_BLOCKS, fixed_scale, learnable_scale, unscaled


def _variances(net: torch.nn.Module) -> list[float]:
    """Variance times fan-in of every 3×3 layer between blocks."""
    layers = [m for name, m in net.named_modules() if isinstance(m, torch.nn.Conv2d) and "branch" in name]
    return [float(layer.weight.detach().var() * layer.weight[0].numel()) for layer in layers]


@pytest.mark.parametrize(
    ("factory", "variance"), [(fixed_scale, 2 / FIXED_BLOCKS), (unscaled, 2.0), (learnable_scale, 2.0)]
)
@pytest.mark.parametrize("depth", [2, 6])
def test_branch_variances_do_not_depend_on_depth(factory: object, variance: float, depth: int) -> None:
    found = _variances(factory(depth, width=48, seed=1))
    assert len(found) == 2 * depth
    assert found == pytest.approx([variance] * len(found), rel=0.05)


def test_a_fixed_scale_is_the_paper_s_at_its_own_depth() -> None:
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(fixed_scale(FIXED_BLOCKS, width=8, seed=4)(x), ammup.resnet(FIXED_BLOCKS, width=8, seed=4)(x))


def test_a_learnable_scale_starts_at_one_over_root_k_and_learns() -> None:
    x, depth = torch.randn(4, 3, 6, 6, dtype=torch.float64), 4
    net = learnable_scale(depth, width=8, seed=2, readout="he").double()
    z = net.stem(x)
    for block in net.blocks:
        branch = block.block(z) - z
        z = z + branch / 2  # 1/√4
    expected = net.readout(torch.relu(z))
    torch.testing.assert_close(net(x), expected, rtol=1e-6, atol=1e-9)
    net(x).square().mean().backward()
    assert all(block.scale.grad.abs() > 0 for block in net.blocks)
    assert ammup.minimal_depth(net, x) == depth
