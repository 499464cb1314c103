from math import isnan

import pandas as pd
from bench.sample_records import make_record, record_of

from rgo_bench.records import PHASES
from rgo_bench.records.frame import MEASURES, RUN, over_seeds, runs_frame, seeds_frame

SECONDS = dict(zip(PHASES, (3.0, 2.0, 1.0, 100.0), strict=True))


def test_a_record_is_a_row_with_what_it_tells() -> None:
    kept = {"bytes": 2048.0, "capacity": 100.0}
    more = {"train_accuracy": (99.0, 97.0), "kept": kept, "seconds": SECONDS}
    told, untold = seeds_frame([record_of([80.0, 90.0], **more), make_record(seed=1)])[
        MEASURES
    ].to_dict("records")
    assert (told["acc"], told["train"], told["gap"]) == (85.0, 98.0, 13.0)
    assert (told["kept_bytes"], told["capacity"], told["seconds"]) == (2048, 100, 6)
    assert all(isnan(untold[name]) for name in ("train", "gap", "kept_bytes"))


def test_seeds_make_a_row_of_their_run_in_the_order_of_names() -> None:
    records = [make_record(method="sgd"), make_record(), make_record(seed=1)]
    rows = runs_frame(records)
    assert list(rows.method) == ["rgo", "sgd"]
    assert list(rows.seeds) == [2, 1]
    assert [tuple(run) for run in rows.run] == list(
        rows[RUN].itertuples(index=False, name=None)
    )


def test_over_seeds_is_mean_and_deviation_unless_one_is_not_known() -> None:
    frame = pd.DataFrame({"of": ["b", "b", "a", "a"], "x": [1.0, 3.0, 1.0, None]})
    first, second = over_seeds(frame, ["of"], ["x"]).itertuples()
    assert (first.of, first.seeds, first.x, first.x_std) == ("b", 2, 2.0, 1.0)
    assert (second.of, isnan(second.x), isnan(second.x_std)) == ("a", True, True)


def test_no_records_make_no_rows() -> None:
    assert len(runs_frame([])) == 0
