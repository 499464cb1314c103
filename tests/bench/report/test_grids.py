from bench.sample_records import make_record, record_of

from rgo_bench.paper.accuracies import COLUMNS, accuracy_sheet, table_rows

PAPERS = ("paper ACC", "paper BWT", "Δ ACC", "Δ BWT")


def test_every_stream_has_a_grid_of_its_own() -> None:
    streams = ("rotated-mnist", "permuted-digits", "permuted-mnist")
    records = [make_record(stream=name) for name in streams]
    titles = [grid.title for grid in accuracy_sheet(records).grids]
    assert titles == [f"{name} (mlp, torch)" for name in sorted(streams)]


def test_ours_stands_beside_the_papers() -> None:
    records = [record_of([last, 90.0], seed=i) for i, last in enumerate((86.0, 88.0))]
    (grid,) = accuracy_sheet(records).grids
    assert grid.header == ("method", "seeds", "ACC", "BWT", *PAPERS)
    assert grid.cells == [
        (
            *("rgo", "2", "88.50 ± 0.50", "-3.00 ± 1.00"),
            *("91.15 ± 0.20", "-2.05 ± 0.09", "-2.65", "-0.95"),
        )
    ]
    assert grid.names == 1


def test_the_difference_is_stated_in_deviations_where_asked_for() -> None:
    records = [
        record_of([88.0, 90.0]),
        record_of([90.0, 90.0], method="stl"),
        make_record(method="owm"),
    ]
    (grid,) = accuracy_sheet(records, deviations=True).grids
    assert grid.header[-5:] == (*PAPERS[:3], "Δ/σ", PAPERS[3])
    assert [cells[-3:] for cells in grid.cells] == [
        ("-2.15", "-11", "+0.05"),
        ("-1.33", "-6.6", "+0.00"),
        ("", "", ""),
    ]


def test_the_papers_columns_are_left_out_where_it_has_no_number() -> None:
    (grid,) = accuracy_sheet([make_record(stream="permuted-digits")]).grids
    assert grid.header == ("method", "seeds", "ACC", "BWT")
    assert len(grid.cells[0]) == 4


def test_a_row_that_is_not_compared_is_empty_there() -> None:
    records = [make_record(), make_record(variant="tasks=6")]
    (grid,) = accuracy_sheet(records).grids
    assert [cells[-4:] == ("",) * 4 for cells in grid.cells] == [False, True]
    assert {len(cells) for cells in grid.cells} == {len(grid.header)}


def test_names_that_differ_have_a_column_and_the_others_are_in_the_title() -> None:
    records = [make_record(), make_record(backend="jax", variant="per=batch")]
    (grid,) = accuracy_sheet(records).grids
    assert grid.title == "permuted-mnist (mlp)"
    assert grid.header[: grid.names] == ("method", "variant", "backend")
    assert [cells[:3] for cells in grid.cells] == [
        ("rgo", "", "torch"),
        ("rgo", "per=batch", "jax"),
    ]


def test_a_network_that_the_variant_tells_has_no_column_of_its_own() -> None:
    bn = {"network": "resnet-18-bn", "variant": "network=resnet-18-bn"}
    plain = make_record(network="resnet-18")
    (grid,) = accuracy_sheet([plain, make_record(**bn)]).grids
    assert grid.title == "permuted-mnist (resnet-18, torch)"
    assert grid.header[: grid.names] == ("method", "variant")
    assert [cells[:2] for cells in grid.cells] == [
        ("rgo", ""),
        ("rgo", "network=resnet-18-bn"),
    ]
    (grid,) = accuracy_sheet([make_record(**bn)]).grids
    assert grid.title == "permuted-mnist (resnet-18-bn, torch)"
    mlp = {"network": "mlp-glorot", "variant": "network=mlp-glorot"}
    (grid,) = accuracy_sheet([make_record(**bn), make_record(**mlp)]).grids
    assert grid.title == "permuted-mnist (torch)"


def test_networks_that_no_variant_tells_have_a_column() -> None:
    records = [make_record(), make_record(network="lenet-5")]
    (grid,) = accuracy_sheet(records).grids
    assert grid.header[: grid.names] == ("method", "network")


def test_a_single_seed_has_no_spread_and_no_negative_zero() -> None:
    record = record_of([90.0, 90.0, 89.99], stream="permuted-digits")
    (grid,) = accuracy_sheet([record]).grids
    assert grid.cells == [("rgo", "1", "90.00", "0.00")]


def test_no_rows_make_no_grids() -> None:
    assert accuracy_sheet([]).grids == []


def test_a_sheet_has_the_same_records_for_readers_and_for_programs() -> None:
    records = [make_record(), make_record(method="sgd")]
    for deviations in (False, True):
        sheet = accuracy_sheet(records, deviations=deviations)
        assert list(sheet.lines.method) == [cells[0] for cells in sheet.grids[0].cells]
        assert sheet.lines.equals(table_rows(records)[COLUMNS])
