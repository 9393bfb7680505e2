"""Compiled, scripted, exported and distributed models."""

from typing import Any

import torch
from torch import Tensor, nn

from zoo_parts.case import Group, Problem
from zoo_parts.constructs.common import Apply, Residual, convolutional, dense, drawn, images, vectors
from zoo_parts.constructs.execution import block
from zoo_parts.constructs.gradients import Cube

compiled = Group("compilation and export")
parallel = Group("parallel wrappers")

compiled.add("compiled_eager_backend", lambda: vectors(torch.compile(dense(nn.ReLU()), backend="eager")))
compiled.add("compiled_aot_backend", lambda: vectors(torch.compile(dense(nn.ReLU()), backend="aot_eager")))
compiled.add("compiled_inductor", lambda: vectors(torch.compile(dense(nn.ReLU()))))


@compiled.case
def compiled_block_inside() -> Problem:
    return vectors(dense(Residual(torch.compile(block(), backend="eager"))))


@compiled.case
def compiled_in_place() -> Problem:
    model = dense(nn.ReLU())
    model[2].compile(backend="eager")
    return vectors(model)


@compiled.case
def compiled_whole_in_place() -> Problem:
    model = dense(nn.ReLU())
    model.compile(backend="eager")
    return vectors(model)


@compiled.case
def compiled_batch_norm_in_place() -> Problem:
    model = dense(nn.BatchNorm1d(8), nn.ReLU())
    model[1].compile(backend="eager")
    return vectors(model)


@compiled.case
def compiled_function_with_forward_rule() -> Problem:
    model = dense(Cube(), nn.Linear(8, 8))
    model.compile(backend="eager")
    return vectors(model)


@compiled.case
def compiled_function_inside() -> Problem:
    gelu = torch.compile(lambda x: 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.04 * x**3))), backend="eager")
    return vectors(dense(Apply(gelu)))


@compiled.refused("a scripted module cannot be observed; measure the original")
def scripted() -> Problem:
    return vectors(torch.jit.script(dense(nn.ReLU())))


@compiled.refused("a traced module cannot be observed; measure the original")
def traced() -> Problem:
    return vectors(torch.jit.trace(dense(nn.ReLU()), drawn(8, 6)))


@compiled.refused("the block inside cannot be observed; measure the original")
def scripted_block_inside() -> Problem:
    return vectors(dense(torch.jit.script(block())))


@compiled.case
def exported() -> Problem:
    return vectors(torch.export.export(dense(nn.ReLU()), (drawn(8, 6),)).module())


@compiled.case
def symbolically_traced() -> Problem:
    return vectors(torch.fx.symbolic_trace(dense(Residual(block()))))


@parallel.case
def data_parallel() -> Problem:
    return vectors(nn.DataParallel(dense(nn.ReLU())))


@parallel.case
def data_parallel_block_inside() -> Problem:
    return vectors(dense(Residual(nn.DataParallel(block()))))


def distributed(model: nn.Module, **options: Any) -> nn.Module:
    """The model in DistributedDataParallel over gloo, in a group of this process alone."""
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    return nn.parallel.DistributedDataParallel(model, **options)


@parallel.case
def distributed_data_parallel() -> Problem:
    return vectors(distributed(dense(nn.ReLU())))


@parallel.case
def distributed_batch_norm() -> Problem:
    return images(distributed(convolutional(nn.BatchNorm2d(8), nn.ReLU()).train()))


@parallel.case
def distributed_unused_parameters() -> Problem:
    model = dense(nn.ReLU())
    model.register_module("spare", nn.Linear(2, 2))

    class Skips(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            for name, module in self.named_children():
                x = x if name == "spare" else module(x)
            return x

    model.__class__ = Skips
    return vectors(distributed(model, find_unused_parameters=True))
