from collections import Counter
from pathlib import Path

from rgo_bench.methods import METHODS
from rgo_bench.networks import NETWORKS
from rgo_bench.paper import PUBLISHED_NETWORKS, published, published_methods
from rgo_bench.streams import STREAMS
from rgo_bench.table1 import ALSO, SEEDS, table1_specs


def test_every_published_method_that_there_is_runs_with_five_seeds() -> None:
    counts = Counter((spec.stream, spec.method) for spec in table1_specs())
    streams = [name for name in PUBLISHED_NETWORKS if STREAMS[name].network in NETWORKS]
    assert {"permuted-mnist", "rotated-mnist"} <= set(streams)
    methods = [name for name in published_methods() if name in METHODS]
    assert counts == {(s, m): 5 for s in streams for m in (*methods, *ALSO)}


def test_runs_are_the_papers_so_that_they_are_compared() -> None:
    for spec in table1_specs():
        assert spec.variant == ""
        assert spec.stream_options == STREAMS[spec.stream].defaults
        numbers = published(spec.stream, spec.method)
        assert spec.method in ALSO or (numbers and numbers.network == spec.network)


def test_a_table_cut_short_has_all_its_rows() -> None:
    specs = table1_specs()
    first = specs[: len(specs) // len(SEEDS)]
    assert {spec.seed for spec in first} == {0}
    assert len({(spec.stream, spec.method) for spec in first}) == len(first)


def test_seeds_and_the_folder_of_data_are_chosen() -> None:
    specs = table1_specs(seeds=[7], data=Path("images"))
    assert {(spec.seed, spec.data) for spec in specs} == {(7, Path("images"))}
