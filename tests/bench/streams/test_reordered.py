import numpy as np
import pytest
from bench.short_runs import SETTINGS
from typer.testing import CliRunner

from rgo_bench.cli.app import app
from rgo_bench.report.orders import order_specs
from rgo_bench.streams import make_stream
from rgo_bench.streams.reordered import task_order

FEW = {"tasks": 4, "samples": 40}


@pytest.mark.parametrize("name", ["permuted-digits", "split-digits"])
def test_the_same_tasks_come_in_another_order(name: str) -> None:
    own = make_stream(name, seed=0, **FEW)
    other = make_stream(name, seed=0, order=2, **FEW)
    places = task_order(4, 2)
    assert sorted(places) == list(range(4))
    assert places != list(range(4))
    for place, task in enumerate(places):
        for part in ("train", "test"):
            found, expected = getattr(other, part)(place), getattr(own, part)(task)
            np.testing.assert_array_equal(found.x, expected.x)
            np.testing.assert_array_equal(found.y, expected.y)
        np.testing.assert_equal(other.mask(place), own.mask(task))
    assert other.settings.order == 2


def test_no_order_is_the_streams_own() -> None:
    assert task_order(5, 0) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="option 'order': expected a positive int"):
        make_stream("permuted-digits", seed=0, order=0)


def test_the_command_runs_every_order_and_prints_the_disparity(
    tmp_path: object,
) -> None:
    arguments = ["orders", "permuted-digits", "--method", "sgd", "--orders", "2"]
    result = CliRunner().invoke(
        app, [*arguments, *SETTINGS, "--out", str(tmp_path)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    (row,) = (x.split() for x in result.output.splitlines() if x.split()[:1] == ["sgd"])
    assert row[1] == "2"
    assert 0 < float(row[-2]) <= float(row[-1])


def test_orders_are_those_that_are_counted() -> None:
    specs = order_specs("permuted-digits", ["sgd"], orders=4, seed=0, options=FEW)
    assert [spec.stream_options.order for spec in specs] == [None, 1, 2, 3]
    with pytest.raises(ValueError, match="option 'order': expected none, for it takes"):
        order_specs(
            "permuted-digits", ["sgd"], orders=2, seed=0, options={**FEW, "order": 2}
        )
    with pytest.raises(
        ValueError, match=r"orders of 2 tasks that all differ, got 3, of"
    ):
        order_specs(
            "permuted-digits", ["sgd"], orders=3, seed=0, options={**FEW, "tasks": 2}
        )
