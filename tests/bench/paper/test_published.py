import tomllib
from importlib.resources import files

import pytest

from rgo_bench.methods import METHODS
from rgo_bench.networks import NETWORKS
from rgo_bench.paper.published import (
    PUBLISHED_NETWORKS,
    Published,
    PublishedFit,
    compared_networks,
    own_network,
    published,
    published_fits,
    published_gains,
    published_methods,
)
from rgo_bench.streams import STREAMS

TABLES = tomllib.loads(files("rgo_bench.paper").joinpath("published.toml").read_text())


def test_a_published_number_is_found_by_stream_and_method() -> None:
    assert published("permuted-mnist", "rgo") == Published(
        91.15, 0.2, -2.05, 0.09, ("mlp", "mlp-glorot")
    )
    cifar = published("split-cifar100", "a-gem")
    assert cifar == Published(49.56, 2.64, -32.1, 2.73, ("resnet-18",))


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


def test_sgd_and_stl_are_compared_with_batch_normalisation_and_without() -> None:
    both = ("resnet-18", "resnet-18-bn")
    for method in METHODS:
        expected = both if method in ("sgd", "stl") else both[:1]
        assert compared_networks("resnet-18", method) == expected
    assert compared_networks("vgg-11", "stl") == ("vgg-11",)
    numbers = published("split-cifar100", "stl")
    assert numbers is not None
    assert numbers.networks == both


@pytest.mark.parametrize(
    ("network", "method", "own"),
    [
        ("lenet-5", "stl", "lenet-5-unpooled"),
        ("lenet-5", "rgo", "lenet-5"),
        ("alexnet-6", "stl", "alexnet-6"),
        ("alexnet-7", "stl", "alexnet-7-small"),
        ("resnet-18", "sgd", "resnet-18-bn"),
        ("mlp", "sgd", "mlp"),
    ],
)
def test_the_papers_own_network_of_a_method_is_known(
    network: str, method: str, own: str
) -> None:
    assert own_network(network, method) == own
    assert {network, own} <= set(compared_networks(network, method))
    assert own in NETWORKS


def test_every_number_of_table_2_can_be_found_and_is_a_difference() -> None:
    gains = published_gains()
    assert list(gains) == ["pgn", "den", "rcl", "apd", "rgo"]
    for method, entry in TABLES["table2"].items():
        assert list(gains[method]) == [*entry["relative_acc"], entry["capacity"]]
    fits = published_fits("split-cifar100")
    difference = fits["lenet-5", "rgo"].test - fits["lenet-5", "stl"].test
    assert round(difference, 2) == gains["rgo"].points


def test_every_number_of_table_3_can_be_found() -> None:
    for stream, networks in TABLES["table3"].items():
        fits = published_fits(stream.replace("_", "-"))
        assert set(fits) == {(name, m) for name in networks for m in ("stl", "rgo")}
        assert {network for network, _ in fits} <= set(NETWORKS)
        for network, row in networks.items():
            assert list(fits[network, "rgo"]) == row["rgo"]
            assert fits[network, "stl"] == PublishedFit(*row["stl"], None, None)


def test_other_streams_have_nothing_in_table_3() -> None:
    assert published_fits("permuted-mnist") == {}
