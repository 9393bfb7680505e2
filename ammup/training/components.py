"""Optimizers, schedules and transforms by name, as data. Importing this module does not import torch.

A component has the name of a class of torch or torchvision, or PACKAGE.MODULE:CLASS, and keyword arguments.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ammup.errors import InputError, check_known

C = TypeVar("C", bound="Component")

PERIODS = ("step", "epoch")


@dataclass(frozen=True, kw_only=True)
class Component:
    """A class and its keyword arguments.

    Attributes:
        name: such as "AdamW" or "package.module:Class".
        arguments: keyword arguments, which are numbers, texts, lists or tables.

    Raises:
        InputError: the name is empty, or an argument is NaN or infinite.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name:
            raise InputError("name is empty; expected the name of a class, such as AdamW")
        try:
            json.dumps(self.arguments, allow_nan=False, default=str)
        except ValueError as error:
            raise InputError(f"arguments={self.arguments} contain NaN or infinity; expected finite numbers") from error

    @classmethod
    def from_value(cls: type[C], what: str, value: Any) -> C:
        """A component from its name, or from a mapping with the names of the attributes.

        Args:
            what: the name of the setting, for errors.
            value: "AdamW", {"name": "AdamW", "arguments": {"weight_decay": 0.1}}, or a component.

        Raises:
            InputError: it is none of these.
        """
        if isinstance(value, cls):
            return value
        known = cls.__dataclass_fields__
        if isinstance(value, Mapping) and "name" in value and set(value) <= set(known):
            return cls(**value)
        if not isinstance(value, str):
            raise InputError(
                f"{what}={value!r}: expected the name of a class, or {{{', '.join(repr(name) for name in known)}: …}}"
            )
        return cls(name=value)


@dataclass(frozen=True, kw_only=True)
class Schedule(Component):
    """A schedule of the learning rate.

    Attributes:
        per: "step" or "epoch": when the schedule advances, and what its arguments count.
    """

    per: str = "step"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_known("per", self.per, PERIODS)
