from collections import Counter

import pytest

from rgo_bench.methods import METHODS
from rgo_bench.paper.published import PUBLISHED_NETWORKS, published, published_methods
from rgo_bench.paper.table1 import ALSO, FORMS, table1_specs
from rgo_bench.runs.spec import make_spec

MNIST = ("permuted-mnist", "rotated-mnist")
SPLIT = ("split-cifar100", "split-miniimagenet")
# The paper has no number of it.
UNPUBLISHED = ("split-miniimagenet", "gpm")
ALL = table1_specs(streams=PUBLISHED_NETWORKS)


def test_every_published_method_runs_with_five_seeds_on_mnist() -> None:
    counts = Counter((s.stream, s.method, s.network) for s in table1_specs())
    methods = (*published_methods(), *ALSO)
    assert set(methods) <= set(METHODS)
    forms = {m: len(FORMS.get(m, [{}])) for m in methods}
    assert counts == {(s, m, "mlp"): 5 * forms[m] for s in MNIST for m in methods}


def test_rgo_runs_as_it_is_by_default_then_scaled_then_in_the_paper_s_form() -> None:
    specs = table1_specs(streams=MNIST[:1], seeds=[0])
    variants = [spec.variant for spec in specs if spec.method == "rgo"]
    assert variants == ["", "weights=normalized", "biases=normalized,per=batch"]
    variants = [spec.variant for spec in specs if spec.method == "rgo-2"]
    assert variants == ["", "weights=normalized"]


def test_split_streams_run_where_asked_for_with_batch_normalisation_too() -> None:
    counts = Counter((s.stream, s.method, s.network) for s in ALL)
    assert {stream for stream, _, _ in counts} == {*MNIST, *SPLIT}
    for stream in SPLIT:
        normalized = {m for s, m, n in counts if (s, n) == (stream, "resnet-18-bn")}
        assert normalized == {"sgd", "stl"}
        plain = {m for s, m, n in counts if (s, n) == (stream, "resnet-18")}
        assert plain == {*published_methods(), *ALSO}
    assert {counts[cell] for cell in counts if cell[0] in SPLIT} == {5}


def test_a_part_of_the_table_can_be_run() -> None:
    specs = table1_specs(streams=["split-cifar100"], networks=["resnet-18-bn"])
    assert {(s.stream, s.network) for s in specs} == {
        ("split-cifar100", "resnet-18-bn")
    }


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"streams": ["split-digits"]},
            "--stream: expected one of permuted-mnist, rotated-mnist, split-cifar100, "
            "split-miniimagenet, got split-digits",
        ),
        # Of the streams that are asked for.
        ({"networks": ["resnet-18"]}, "--network: expected one of mlp, got resnet-18"),
    ],
)
def test_what_the_table_does_not_have_is_refused(
    asked: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        table1_specs(**asked)


def test_runs_are_the_papers_so_that_they_are_compared() -> None:
    for spec in ALL:
        own = spec.network == PUBLISHED_NETWORKS[spec.stream]
        forms = FORMS.get(spec.method, [{}]) if spec.network == "mlp" else [{}]
        asked = [
            make_spec(spec.stream, spec.method, spec.seed, form, network=spec.network)
            for form in forms
        ]
        assert spec in asked
        assert own or spec.variant == f"network={spec.network}"
        numbers = published(spec.stream, spec.method)
        if spec.method not in ALSO and (spec.stream, spec.method) != UNPUBLISHED:
            assert numbers is not None
            assert spec.network in numbers.networks


def test_a_table_cut_short_has_all_its_rows() -> None:
    first = ALL[: len(ALL) // 5]
    assert {spec.seed for spec in first} == {0}
    cells = {(spec.stream, spec.method, spec.variant) for spec in first}
    assert len(cells) == len(first)


def test_seeds_are_chosen() -> None:
    assert {spec.seed for spec in table1_specs(seeds=[7])} == {7}
