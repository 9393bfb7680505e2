"""Isolated caches for the tests of the statements, and tangents by finite differences."""

from collections.abc import Callable, Iterator

import pytest
import torch

from ammup.claims import draws
from ammup.claims.draws import Setting


@pytest.fixture(autouse=True)
def _isolated_draws_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(draws, "device", lambda: "cpu")
    with draws.isolated_cache():
        yield


@pytest.fixture(scope="session")
def differences() -> Callable[..., list[torch.Tensor]]:
    """A function that returns derivatives of units along a direction in weight space, by central differences."""

    def derivatives(setting: Setting, seed: int, direction: dict, units: tuple[str, ...]) -> list[torch.Tensor]:
        (depth,) = setting.depths
        net, inputs = setting.factory(depth, seed=seed).double(), setting.batch[0].double()
        outputs_of: dict[str, list[torch.Tensor]] = {unit: [] for unit in units}
        for unit, outputs in outputs_of.items():
            net.get_submodule(unit).register_forward_hook(lambda _m, _a, z, seen=outputs: seen.append(z.detach()))
        for sign in (1, -1):
            moved = {n: p.detach() + sign * 1e-7 * direction.get(n, 0.0) for n, p in net.named_parameters()}
            torch.func.functional_call(net, moved, (inputs,))
        return [(ahead - behind) / 2e-7 for ahead, behind in outputs_of.values()]

    return derivatives
