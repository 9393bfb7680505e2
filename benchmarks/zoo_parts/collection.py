"""The collections of the zoo by name."""

import importlib

from zoo_parts.case import Case, Group

COLLECTIONS = {
    "constructs": "zoo_parts.constructs",
    "torchvision": "zoo_parts.torchvision_models",
    "timm": "zoo_parts.timm_models",
    "transformers": "zoo_parts.transformers_models",
}


def cases_of(collection: str) -> list[Case]:
    """Every case of a collection; its libraries are imported in this call.

    Raises:
        ValueError: two cases have the same name.
    """
    groups: list[Group] = importlib.import_module(COLLECTIONS[collection]).groups()
    cases = [case for group in groups for case in group.cases]
    names = [case.name for case in cases]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"cases with the same name: {', '.join(repeated)}")
    return cases
