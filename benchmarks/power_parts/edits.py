"""Change the text of functions of ammup in a running process, to plant a fault in the real code."""

import ast
import importlib
import inspect
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from types import CodeType, FunctionType
from typing import Any

from ammup.models import depth


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One change of the source of a function.

    Attributes:
        where: "package.module:function" or "package.module:Class.method"; properties and class methods are allowed.
        old: a text that occurs exactly once in the source of the function.
        new: the text that replaces it.
    """

    where: str
    old: str
    new: str

    @property
    def function(self) -> FunctionType:
        """The function, without decorators."""
        module, _, path = self.where.partition(":")
        found: Any = attrgetter(path)(importlib.import_module(module))
        found = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
        function = inspect.unwrap(found)
        assert isinstance(function, FunctionType), f"{self.where} is {type(function).__name__}"
        return function

    def compiled(self) -> CodeType:
        """The code of the changed function."""
        function = self.function
        source = textwrap.dedent(inspect.getsource(function))
        assert source.count(self.old) == 1, f"{self.where} contains {self.old!r} {source.count(self.old)} times"
        (definition,) = ast.parse(source.replace(self.old, self.new)).body
        assert isinstance(definition, ast.FunctionDef)
        definition.decorator_list = []
        # The function is nested in one that has its free variables, such as the class that super() refers to.
        outer = ast.parse(f"def outer({', '.join(function.__code__.co_freevars)}): pass")
        assert isinstance(outer.body[0], ast.FunctionDef)
        outer.body[0].body = [definition]
        code = compile(outer, inspect.getfile(function), "exec")
        for _ in range(2):
            code = next(constant for constant in code.co_consts if isinstance(constant, CodeType))
        return code


@contextmanager
def planted(edits: Sequence[Edit]) -> Iterator[None]:
    """Make the changes, with empty caches of ammup before and after the context.

    The code of each function object is replaced, so that the change is effective wherever the function is referred to.
    """
    changed = [(edit.function, edit.compiled()) for edit in edits]
    before = [function.__code__ for function, _ in changed]
    assert len({id(function) for function, _ in changed}) == len(changed), "two edits of one function"
    _clear_caches()
    try:
        for function, code in changed:
            function.__code__ = code
        yield
    finally:
        for (function, _), code in zip(changed, before, strict=True):
            function.__code__ = code
        _clear_caches()


def _clear_caches() -> None:
    """Clear the cached results of all functions in the loaded modules of ammup, and the traced structures."""
    depth._TRACED.clear()
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "ammup":
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
