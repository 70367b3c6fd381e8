"""When is an exported file equal to its network? Lists ordered by score may differ where the scores do not."""
from __future__ import annotations

import numpy as np
import pytest

from export import TOLERANCE, same_order

# x, score
RANKED = np.array([[[1, 0.9], [2, 0.5], [3, 0.5], [4, 0.2]]], np.float32)


def largest_difference(have) -> float:
    want, paired = same_order(RANKED, np.array([have], np.float32), score_column=1)
    return float(np.abs(want - paired).max())


def test_rows_of_equal_scores_may_change_places():
    assert largest_difference([[1, 0.9], [3, 0.5 + 1e-6], [2, 0.5], [4, 0.2]]) < TOLERANCE


def test_the_last_row_may_be_another_of_its_score():
    assert largest_difference([[1, 0.9], [2, 0.5], [3, 0.5], [7, 0.2]]) < TOLERANCE


@pytest.mark.parametrize("have", [
    [[1, 0.9], [2, 0.5], [3.1, 0.5], [4, 0.2]],   # another box
    [[1, 0.8], [2, 0.5], [3, 0.5], [4, 0.2]],     # another score
    [[1, 0.9], [2, 0.5], [2, 0.5], [4, 0.2]],     # one is missing, another there twice
])
def test_other_rows_are_a_difference(have):
    assert largest_difference(have) > TOLERANCE


def test_where_all_scores_are_equal_the_order_counts():
    level = np.array([[[1, 0.5], [2, 0.5]]], np.float32)
    want, paired = same_order(level, level[:, ::-1], score_column=1)
    assert np.abs(want - paired).max() == 1
