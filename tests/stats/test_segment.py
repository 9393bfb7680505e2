"""Zero-shot transfer within a range of depths, against numpy's own line."""

import numpy as np
import pytest

from ammup.errors import InputError
from ammup.stats.segment import Segment

MEASURED = {3: 0.31, 4: 0.2, 6: 0.12, 8: 0.07}


@pytest.mark.parametrize("anchors", [(3, 4), (8, 3, 4)])
def test_the_anchors_line_is_the_least_squares_line_of_the_logarithms(anchors: tuple[int, ...]) -> None:
    table = Segment(anchors=anchors, predict=(6, 30)).predictions(MEASURED)
    line = np.polyfit(np.log(anchors), np.log([MEASURED[depth] for depth in anchors]), 1)
    expected = np.exp(np.polyval(line, np.log([6, 30])))
    assert table["depth"].tolist() == [6, 30]
    np.testing.assert_allclose(table["predicted"], expected, rtol=1e-10)
    np.testing.assert_array_equal(table["measured"], [0.12, np.nan])
    np.testing.assert_allclose(table["log10_error"], [np.log10(expected[0] / 0.12), np.nan], rtol=1e-8)


def test_the_value_at_a_predicted_depth_does_not_enter_its_prediction() -> None:
    segment = Segment(anchors=(3, 4), predict=(6,))
    moved = segment.predictions({**MEASURED, 6: 100.0, 8: 100.0})
    assert moved["predicted"].tolist() == segment.predictions(MEASURED)["predicted"].tolist()


def test_an_anchor_without_an_optimum_is_refused() -> None:
    with pytest.raises(InputError, match=r"the anchors \[5, 7\] of a segment have no optimum"):
        Segment(anchors=(3, 5, 7), predict=(8,)).predictions(MEASURED)


def test_segments_that_know_their_answer_are_refused() -> None:
    with pytest.raises(InputError, match=r"depths \[4\] are both anchors and predicted"):
        Segment(anchors=(3, 4), predict=(4, 6))


@pytest.mark.parametrize(("anchors", "predict"), [((3,), (4,)), ((3, 3), (4,)), ((3, 4), ()), ((0, 4), (8,))])
def test_a_segment_has_two_anchors_and_something_to_predict(anchors: tuple, predict: tuple) -> None:
    with pytest.raises(InputError, match="depths="):
        Segment(anchors=anchors, predict=predict)
