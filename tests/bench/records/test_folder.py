import re
import subprocess
import sys
from pathlib import Path

import pytest
from bench.sample_records import make_record

from rgo_bench.records import (
    check_writable,
    differing_options,
    read_record,
    read_records,
    record_path,
    variant_options,
    write_record,
)
from rgo_bench.runs.spec import make_spec, parse_options

COMMITTED = Path(__file__).parents[3] / "benchmarks/results"


def test_a_record_lies_by_stream_method_variant_and_seed(tmp_path: Path) -> None:
    plain = write_record(tmp_path, make_record(seed=3))
    varied = write_record(tmp_path, make_record(variant="per=batch,tasks=6"))
    assert plain == tmp_path / "permuted-mnist/rgo/seed-3.json"
    assert varied == tmp_path / "permuted-mnist/rgo/per=batch,tasks=6/seed-0.json"
    assert record_path(tmp_path, make_record(seed=3)) == plain


def test_a_record_is_read_back_and_a_later_one_takes_its_place(tmp_path: Path) -> None:
    write_record(tmp_path, make_record(config={"lr": 1}))
    path = write_record(tmp_path, make_record(config={"lr": 2}))
    assert read_record(path).config == {"lr": 2}
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]


def test_all_records_are_read_in_order(tmp_path: Path) -> None:
    runs = [("rgo", "", 2), ("rgo", "", 10), ("rgo", "per=batch", 0), ("sgd", "", 1)]
    for method, variant, seed in reversed(runs):
        write_record(tmp_path, make_record(method=method, variant=variant, seed=seed))
    records = read_records(tmp_path)
    assert [(each.method, each.variant, each.seed) for each in records] == runs


def test_files_of_other_names_are_not_records(tmp_path: Path) -> None:
    write_record(tmp_path, make_record())
    (tmp_path / "timings.json").write_text("{}")
    assert len(read_records(tmp_path)) == 1


def test_a_folder_without_records_has_none(tmp_path: Path) -> None:
    assert read_records(tmp_path) == []


@pytest.mark.parametrize("content", [b'{"stream": ', b"\xff\xfe", b"", b"[]"])
def test_a_broken_file_is_named(content: bytes, tmp_path: Path) -> None:
    write_record(tmp_path, make_record())
    broken = tmp_path / "sub" / "seed-1.json"
    broken.parent.mkdir()
    broken.write_bytes(content)
    for read in (lambda: read_record(broken), lambda: read_records(tmp_path)):
        with pytest.raises(ValueError, match=re.escape(str(broken))):
            read()


def test_two_records_of_one_run_are_refused_and_both_named(tmp_path: Path) -> None:
    first = write_record(tmp_path / "a", make_record())
    second = write_record(tmp_path / "b", make_record())
    message = (
        f"{second}: expected one record of each run, got the run that {first} records"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        read_records(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    message = f"{tmp_path / 'absent'}: expected a folder of records, got none"
    with pytest.raises(NotADirectoryError, match=re.escape(message)):
        read_records(tmp_path / "absent")


def test_a_record_that_is_not_there_is_reported_as_such(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"seed-0\.json"):
        read_record(tmp_path / "seed-0.json")


def test_a_folder_that_can_be_written_to_is_made_and_left_empty(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "results")
    assert list((tmp_path / "new" / "results").iterdir()) == []


def test_runs_that_start_together_do_not_refuse_the_folder_to_each_other(
    tmp_path: Path,
) -> None:
    code = (
        "import sys; from pathlib import Path; from rgo_bench.records import *\n"
        "for _ in range(300): check_writable(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    assert [process.communicate()[1] for process in started] == [b""] * 3


@pytest.mark.parametrize("below", [".", "results"])
def test_a_folder_that_cannot_be_written_to_is_refused(
    below: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / below
    message = f"{out}: expected a folder that records can be written to, got: "
    with pytest.raises(OSError, match=re.escape(message)):
        check_writable(out)


@pytest.mark.skipif(not COMMITTED.is_dir(), reason="a copy without the results")
def test_the_committed_records_are_those_that_their_options_ask_for() -> None:
    records = read_records(COMMITTED)
    assert len(records) > 100
    for record in records:
        named = variant_options(record.variant)
        network = named.pop("network", None)
        backend = named.pop("backend", "torch")
        options = parse_options(f"{name}={text}" for name, text in named.items())
        names = record.stream, record.method, record.seed
        spec = make_spec(*names, options, network=network, backend=backend)
        assert (spec.variant, spec.network) == (record.variant, record.network)
        assert record.backend == backend
        assert differing_options(record.config, spec.config) == []
