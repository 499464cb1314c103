"""Runs on Ray: what is refused. Sweeps with kills: `benchmarks/scale/kills.py`."""

import sys
from pathlib import Path

import pytest
from bench.short_runs import short_spec

from rgo_bench.cli.progress import Bars
from rgo_bench.cli.terminal import LOCAL, Engine, choose_engine, console
from rgo_bench.runs.attempts import Manner
from rgo_bench.runs.ray_jobs import run_on_ray
from rgo_bench.runs.run import run


def test_engines_are_chosen_by_name() -> None:
    assert choose_engine("local", None) == LOCAL
    assert choose_engine("ray", "auto") == Engine("ray", "auto")
    with pytest.raises(ValueError, match="--engine: expected local or ray, got dask"):
        choose_engine("dask", None)
    with pytest.raises(ValueError, match="--address: expected --engine ray, got local"):
        choose_engine("local", "auto")


def test_without_ray_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    manner = Manner(out=tmp_path)
    with pytest.raises(ImportError, match=r"--engine ray expects Ray.*rgo\[ray\]"):
        run_on_ray([short_spec()], manner, address=None, bars=Bars(console))


def test_records_that_are_there_need_no_cluster(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install 'rgo[ray]'")
    record = run(short_spec(), tmp_path)
    manner = Manner(out=tmp_path)
    outcome = run_on_ray([short_spec()], manner, address="auto", bars=Bars(console))
    assert outcome.records == [record]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_an_address_without_a_cluster_is_named(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install 'rgo[ray]'")
    expected = "--address: expected a Ray cluster at 'auto', got none"
    with pytest.raises(ConnectionError, match=expected):
        run_on_ray(
            [short_spec()], Manner(out=tmp_path), address="auto", bars=Bars(console)
        )
