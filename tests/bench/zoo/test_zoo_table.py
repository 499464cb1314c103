from math import isnan

from bench.zoo.sample_zoo import zoo_record

from rgo_bench.zoo.table import SHOWN, zoo_rows, zoo_sheet


def test_time_is_over_plain_and_memory_beyond_it() -> None:
    seconds = {"train": 12.0, "consolidate": 3.0, "evaluate": 9.0}
    rgo = zoo_record(method="rgo", seconds=seconds, peak_mib=100.0, protected=99.0)
    plain, row = zoo_rows([rgo, zoo_record()]).itertuples()
    assert (plain.method, plain.time, plain.memory) == ("plain", 1.0, 0.0)
    assert (row.method, row.time, row.memory) == ("rgo", 1.5, 50.0)
    assert row.protected == 99.0
    assert isnan(plain.protected)


def test_runs_with_sgd_are_beside_plain_sgd() -> None:
    slow = {"train": 20.0, "consolidate": 5.0, "evaluate": 9.0}
    quick = {"train": 5.0, "consolidate": 0.0, "evaluate": 9.0}
    records = [
        zoo_record(),
        zoo_record(method="plain-sgd", seconds=quick, peak_mib=30.0),
        zoo_record(method="rgo-sgd", seconds=slow, peak_mib=35.0),
    ]
    rows = zoo_rows(records)
    assert list(rows.method) == ["plain", "plain-sgd", "rgo-sgd"]
    assert list(rows.time) == [1.0, 1.0, 5.0]
    assert list(rows.memory) == [0.0, 0.0, 5.0]


def test_without_plain_there_is_nothing_to_be_over() -> None:
    rows = zoo_rows([zoo_record(method="rgo")])
    assert rows[["time", "memory"]].isna().all(axis=None)


def test_memory_that_was_not_measured_is_not_stated() -> None:
    rows = zoo_rows([zoo_record(peak_mib=None), zoo_record(method="rgo")])
    assert rows.memory.isna().tolist() == [True, True]


def test_seeds_are_averaged_with_their_deviation() -> None:
    other = [[90.0], [60.0, 80.0], [50.0, 60.0, 100.0]]
    records = [zoo_record(), zoo_record(seed=1, accuracy=other)]
    (row,) = zoo_rows(records).itertuples()
    assert row.seeds == 2
    assert (row.bwt, row.bwt_std) == (-40.0, 10.0)
    ((*_, bwt, learned, _, _, _),) = zoo_sheet(records).grids[0].cells
    assert (bwt, learned) == ("-40.0 ± 10.0", "90.0 ± 0.0")


def test_rows_stand_in_the_order_of_the_zoo() -> None:
    names = ("minilm", "vit", "strange", "gpt2")
    rows = zoo_rows([zoo_record(model=name) for name in names])
    assert list(rows.model) == ["vit", "gpt2", "minilm", "strange"]


def test_joint_training_has_no_transfer() -> None:
    record = zoo_record(method="joint", accuracy=[[90.0, 90.0, 90.0]])
    ((model, method, *cells),) = zoo_sheet([record]).grids[0].cells
    assert (model, method) == ("mixer", "joint")
    assert dict(zip(SHOWN, cells, strict=True)) == {
        "protected": "",
        "ACC": "90.0",
        "BWT": "",
        "learned": "",
        "time": "",
        "memory": "",
        "state": "",
    }


def test_options_have_a_column_where_a_run_has_any() -> None:
    records = [zoo_record(method="rgo", options={"damping": 0.1}), zoo_record()]
    (grid,) = zoo_sheet(records).grids
    assert grid.header[:3] == ("model", "method", "variant")
    assert [cells[:3] for cells in grid.cells] == [
        ("mixer", "plain", ""),
        ("mixer", "rgo", "damping=0.1"),
    ]


def test_lines_for_programs_hold_numbers() -> None:
    (values,) = zoo_sheet([zoo_record()]).lines.to_dict("records")
    assert (values["bwt"], values["peak"], values["seconds"]) == (-50.0, 50.0, 10.0)
