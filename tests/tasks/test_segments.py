"""Groups of series by what stood before their first cutoff."""

from datetime import datetime, timedelta

import polars as pl

from tasks.segments import segments

DAY = datetime(2024, 1, 1)


def grouped(series: dict[str, list[float | None]], kind: str, cut: int = 1000) -> dict[str, str]:
    """Group of each series; the first cutoff is after `cut` points, or after the last."""
    rows = [(name, DAY + timedelta(days=n), y) for name, values in series.items() for n, y in enumerate(values)]
    history = pl.DataFrame(
        rows, schema={"unique_id": pl.String, "ds": pl.Datetime("us"), "y": pl.Float64}, orient="row"
    )
    cuts = [(name, DAY + timedelta(days=min(cut, len(values)) - 1)) for name, values in series.items()]
    windows = pl.DataFrame(cuts, schema={"unique_id": pl.String, "cutoff": pl.Datetime("us")}, orient="row")
    return dict(segments(history, windows, [kind]).select("unique_id", "part").iter_rows())


def test_lengths_are_cut_in_thirds() -> None:
    found = grouped({str(n): [1.0] * n for n in (3, 4, 5, 6, 7, 8)}, "length")
    assert [found[str(n)] for n in (3, 4, 5, 6, 7, 8)] == [
        f"length={name}" for name in ("short", "short", "middle", "middle", "long", "long")
    ]


def test_missing_values_do_not_lengthen_a_history() -> None:
    found = grouped({"a": [1.0, None, None, None, 1.0], "b": [1.0] * 3, "c": [1.0] * 4}, "length")
    assert found == {"a": "length=short", "b": "length=middle", "c": "length=long"}


def test_equal_values_stay_together_so_there_are_fewer_groups() -> None:
    found = grouped({"a": [1.0], "b": [1.0], "c": [-1.0], "d": [9.0]}, "volume")
    assert found == {"a": "volume=middle", "b": "volume=middle", "c": "volume=middle", "d": "volume=high"}


def test_a_grouping_of_one_group_is_left_out() -> None:
    assert grouped({"a": [1.0], "b": [1.0]}, "volume") == {}


def test_what_comes_after_the_first_cutoff_does_not_count() -> None:
    calm = {"a": [1.0, 1.0, 1.0], "b": [2.0, 2.0, 2.0], "c": [3.0, 3.0, 3.0]}
    wild = calm | {"a": [1.0, 1.0, 99.0]}
    assert grouped(wild, "volume", cut=2) == grouped(calm, "volume", cut=2)
    assert grouped(wild, "volume", cut=3) != grouped(calm, "volume", cut=3)


def test_kinds_of_demand_are_told_by_interval_and_spread() -> None:
    found = grouped(
        {
            "smooth": [5.0, 6.0, 5.0, 4.0],
            "erratic": [1.0, 9.0, 1.0, 1.0],  # mean 3, variance 12: 1.33 of the squared mean
            "intermittent": [5.0, 0.0, 5.0, 0.0],  # every second period
            "lumpy": [1.0, 0.0, 0.0, 9.0],  # mean 5, variance 16: 0.64
            "zero": [0.0, 0.0, 0.0, 0.0],
        },
        "intermittency",
    )
    assert found == {name: f"intermittency={name}" for name in found}
    assert len(found) == 5


def test_the_cut_off_between_frequent_and_seldom_is_at_an_interval_of_1_32() -> None:
    found = grouped({"often": [1.0] * 77 + [0.0] * 24, "seldom": [1.0] * 75 + [0.0] * 25}, "intermittency")
    assert found == {"often": "intermittency=smooth", "seldom": "intermittency=intermittent"}  # 1.312 and 1.333


def test_ones_own_labels_make_a_grouping_too() -> None:
    windows = pl.DataFrame({"unique_id": ["a", "b"], "cutoff": [DAY, DAY]})
    history = pl.DataFrame({"unique_id": ["a", "b"], "ds": [DAY, DAY], "y": [1.0, 1.0]})
    labels = pl.DataFrame({"unique_id": ["a", "b", "gone"], "label": ["north", "south", "north"]})
    found = segments(history, windows, [], labels)
    assert found.rows() == [("a", "segment=north"), ("b", "segment=south")]
