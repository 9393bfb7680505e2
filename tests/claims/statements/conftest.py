"""What is measured in the tests of one statement is not used by another's; tangents by differences."""

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
    """Derivatives of the named units along a direction in weight space, as differences in double precision."""

    def derivatives(setting: Setting, seed: int, direction: dict, units: tuple[str, ...]) -> list[torch.Tensor]:
        (depth,) = setting.depths
        net, inputs = setting.factory(depth, seed=seed).double(), setting.batch[0].double()
        seen: dict[str, list[torch.Tensor]] = {unit: [] for unit in units}
        for unit, outputs in seen.items():
            net.get_submodule(unit).register_forward_hook(lambda _m, _a, z, kept=outputs: kept.append(z.detach()))
        for sign in (1, -1):
            moved = {n: p.detach() + sign * 1e-7 * direction.get(n, 0.0) for n, p in net.named_parameters()}
            torch.func.functional_call(net, moved, (inputs,))
        return [(ahead - behind) / 2e-7 for ahead, behind in seen.values()]

    return derivatives
