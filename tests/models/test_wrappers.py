"""Models wrapped for several devices."""

import os
import socket
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from torch import distributed, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

import ammup
from ammup import InputError
from ammup.models.wrappers import inner_name, unwrapped

X, Y = torch.randn((6, 4), generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))


def test_the_module_inside_is_measured_under_its_names() -> None:
    net = _net()
    wrapper = DataParallel(net)
    expected = ammup.measure_updates(net, X, Y, loss="cross_entropy")
    found = ammup.measure_updates(wrapper, X, Y, loss="cross_entropy")
    assert found.units == expected.units == ammup.depth_units(wrapper, X)
    np.testing.assert_array_equal(found.S, expected.S)
    chosen = ammup.measure_updates(
        wrapper, X, Y, loss="cross_entropy", units=["module.0"], lr_factors={"module.0.weight": 2.0}
    )
    same = ammup.measure_updates(net, X, Y, loss="cross_entropy", units=["0"], lr_factors={"0.weight": 2.0})
    np.testing.assert_array_equal(chosen.S, same.S)


def test_names_inside() -> None:
    assert inner_name("module.module.layers.0.weight") == "layers.0.weight"
    assert inner_name("modules.0") == "modules.0"


def test_a_module_of_the_users_that_is_called_module_keeps_its_name() -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = _net()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.module(x)

    found = ammup.measure_updates(Holder(), X, Y, loss="cross_entropy", units=["module.0"])
    assert found.units == ("module.0",)


def test_synchronized_batch_norm_is_refused_in_training_mode() -> None:
    net = nn.SyncBatchNorm.convert_sync_batchnorm(_net())
    with pytest.raises(InputError, match=r"module '1' is SyncBatchNorm.*eval mode"):
        unwrapped(net)
    assert unwrapped(net.eval()) is net


def _rank(rank: int, port: int, folder: str, method: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    distributed.init_process_group("gloo", rank=rank, world_size=2, timeout=timedelta(seconds=60))
    net = DistributedDataParallel(_net())
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for step in range(3):
        if rank == 0 and step == 1:
            found = ammup.measure_updates(net, X, Y, loss="cross_entropy", method=method)
            torch.save(found.S, Path(folder) / "S.pt")
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(X[rank::2]), Y[rank::2]).backward()
        optimizer.step()
    torch.save([p.detach() for p in net.parameters()], Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["jvp", "difference"])  # float64 would remove the hooks of the wrapper
def test_one_rank_measures_while_the_others_train(method: str, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_rank, args=(port, str(tmp_path), method), nprocs=2)
    assert np.isfinite(torch.load(tmp_path / "S.pt", weights_only=False)).all()
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))  # gradients were still averaged
    assert not torch.equal(one[0], _net()[0].weight)
