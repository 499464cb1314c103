from bench.sample_records import make_record, record_of

from rgo_bench.report.tables import accuracy_sheet, grids, table_rows

PAPERS = ("paper ACC", "paper BWT", "Δ ACC", "Δ BWT")


def test_every_stream_has_a_grid_of_its_own() -> None:
    streams = ("rotated-mnist", "permuted-digits", "permuted-mnist")
    rows = table_rows([make_record(stream=name) for name in streams])
    titles = [grid.title for grid in grids(rows)]
    assert titles == [f"{name} (mlp, torch)" for name in sorted(streams)]


def test_ours_stands_beside_the_papers() -> None:
    records = [record_of([last, 90.0], seed=i) for i, last in enumerate((86.0, 88.0))]
    (grid,) = grids(table_rows(records))
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
    (grid,) = grids(table_rows(records), deviations=True)
    assert grid.header[-5:] == (*PAPERS[:3], "Δ/σ", PAPERS[3])
    assert [cells[-3:] for cells in grid.cells] == [
        ("-2.15", "-11", "+0.05"),
        ("-1.33", "-6.6", "+0.00"),
        ("", "", ""),
    ]


def test_the_papers_columns_are_left_out_where_it_has_no_number() -> None:
    (grid,) = grids(table_rows([make_record(stream="permuted-digits")]))
    assert grid.header == ("method", "seeds", "ACC", "BWT")
    assert len(grid.cells[0]) == 4


def test_a_row_that_is_not_compared_is_empty_there() -> None:
    rows = table_rows([make_record(), make_record(variant="tasks=6")])
    (grid,) = grids(rows)
    assert [cells[-4:] == ("",) * 4 for cells in grid.cells] == [False, True]
    assert {len(cells) for cells in grid.cells} == {len(grid.header)}


def test_names_that_differ_have_a_column_and_the_others_are_in_the_title() -> None:
    rows = table_rows([make_record(), make_record(backend="jax", variant="per=batch")])
    (grid,) = grids(rows)
    assert grid.title == "permuted-mnist (mlp)"
    assert grid.header[: grid.names] == ("method", "variant", "backend")
    assert [cells[:3] for cells in grid.cells] == [
        ("rgo", "", "torch"),
        ("rgo", "per=batch", "jax"),
    ]


def test_a_network_that_the_variant_tells_has_no_column_of_its_own() -> None:
    bn = {"network": "resnet-18-bn", "variant": "network=resnet-18-bn"}
    plain = make_record(network="resnet-18")
    (grid,) = grids(table_rows([plain, make_record(**bn)]))
    assert grid.title == "permuted-mnist (resnet-18, torch)"
    assert grid.header[: grid.names] == ("method", "variant")
    assert [cells[:2] for cells in grid.cells] == [
        ("rgo", ""),
        ("rgo", "network=resnet-18-bn"),
    ]
    (grid,) = grids(table_rows([make_record(**bn)]))
    assert grid.title == "permuted-mnist (resnet-18-bn, torch)"
    mlp = {"network": "mlp-glorot", "variant": "network=mlp-glorot"}
    (grid,) = grids(table_rows([make_record(**bn), make_record(**mlp)]))
    assert grid.title == "permuted-mnist (torch)"


def test_networks_that_no_variant_tells_have_a_column() -> None:
    rows = table_rows([make_record(), make_record(network="lenet-5")])
    (grid,) = grids(rows)
    assert grid.header[: grid.names] == ("method", "network")


def test_a_single_seed_has_no_spread_and_no_negative_zero() -> None:
    record = record_of([90.0, 90.0, 89.99], stream="permuted-digits")
    (grid,) = grids(table_rows([record]))
    assert grid.cells == [("rgo", "1", "90.00", "0.00")]


def test_no_rows_make_no_grids() -> None:
    assert grids(table_rows([])) == []


def test_a_sheet_has_the_same_records_for_readers_and_for_programs() -> None:
    records = [make_record(), make_record(method="sgd")]
    rows = table_rows(records)
    for deviations in (False, True):
        sheet = accuracy_sheet(records, deviations=deviations)
        assert sheet.grids == grids(rows, deviations=deviations)
        assert list(sheet.lines.method) == [cells[0] for cells in sheet.grids[0].cells]
