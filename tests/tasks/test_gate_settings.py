"""Settings of the gate under which nothing could ever be promoted, or a floor says nothing."""

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.config import GateConfig


@pytest.mark.parametrize("bounds", [(0.95, 0.65), (0.8, 0.8), (-0.1, 0.9), (0.65, 95)])
def test_bounds_that_no_coverage_meets_are_refused(bounds: Any) -> None:
    with pytest.raises(ValidationError, match="coverage"):
        GateConfig(coverage=bounds)


def test_a_segment_cannot_be_let_lose_more_than_its_whole_again() -> None:
    with pytest.raises(ValidationError, match="worst_segment"):
        GateConfig(worst_segment=1.5)
