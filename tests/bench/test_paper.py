import tomllib
from importlib.resources import files

from rgo_bench.paper import PUBLISHED_NETWORKS, Published, published, published_methods
from rgo_bench.streams import STREAMS

TABLES = tomllib.loads(files("rgo_bench").joinpath("paper_tables.toml").read_text())


def test_a_published_number_is_found_by_stream_and_method() -> None:
    assert published("permuted-mnist", "rgo") == Published(
        91.15, 0.2, -2.05, 0.09, "mlp"
    )
    cifar = published("split-cifar100", "a-gem")
    assert cifar == Published(49.56, 2.64, -32.1, 2.73, "resnet-18")


def test_every_number_of_table_1_can_be_found() -> None:
    for stream, rows in TABLES["table1"].items():
        for method, numbers in rows.items():
            found = published(stream.replace("_", "-"), method)
            assert found is not None
            assert list(found[:4]) == numbers


def test_what_the_paper_leaves_out_is_none() -> None:
    assert published("split-miniimagenet", "gpm") is None
    assert published("permuted-mnist", "mine") is None
    assert published("permuted-digits", "rgo") is None


def test_streams_of_the_paper_are_in_the_table_by_the_names_that_run_takes() -> None:
    compared = {name for name in STREAMS if published(name, "rgo")}
    assert compared == set(PUBLISHED_NETWORKS)


def test_methods_stand_in_the_order_of_the_table() -> None:
    methods = published_methods()
    assert (methods[0], methods[1], methods[-1]) == ("rgo", "rgo-2", "stl")
    assert len(methods) == 9
