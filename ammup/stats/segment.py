"""Zero-shot transfer within a range of depths."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ammup.errors import InputError
from ammup.stats.depths import checked_depths

if TYPE_CHECKING:  # imported when a prediction is made
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Zero-shot transfer within a range of depths (paper, section 4.2).

    Attributes:
        anchors: depths with a measured optimum; a line through log η* on log L is fitted to them.
        predict: other depths, at which the line is evaluated.
    """

    anchors: tuple[int, ...]
    predict: tuple[int, ...]

    def __post_init__(self) -> None:
        checked_depths(self.anchors, at_least=2)
        checked_depths(self.predict)
        both = sorted(set(self.anchors) & set(self.predict))
        if both:
            raise InputError(f"depths {both} are both anchors and predicted; a predicted depth must not be an anchor")

    def predictions(self, lr_star: Mapping[int, float]) -> "pd.DataFrame":
        """Predictions of the line through the anchors, with log10 errors.

        Args:
            lr_star: η* by depth, for every anchor. A predicted depth that is not in it has no error.

        Returns:
            One row for each predicted depth: depth, predicted; measured and log10_error, NaN where ``lr_star`` has no
            value.

        Raises:
            InputError: an anchor has no η*.
        """
        import pandas as pd

        from ammup.stats.power_law import fit_power_law

        missing = [depth for depth in self.anchors if depth not in lr_star]
        if missing:
            raise InputError(f"the anchors {missing} of a segment have no optimum")
        line = fit_power_law(list(self.anchors), [lr_star[depth] for depth in self.anchors])
        predicted = line.predict(list(self.predict))
        measured = np.array([lr_star.get(depth, np.nan) for depth in self.predict])
        return pd.DataFrame(
            {
                "depth": self.predict,
                "predicted": predicted,
                "measured": measured,
                "log10_error": np.log10(predicted / measured),
            }
        )
