import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rgo_bench.cli.app import app
from rgo_bench.measure import numerics
from rgo_bench.measure.numerics import FORMS, KINDS, exact_projection, measure_errors

COMMITTED = Path(__file__).parents[3] / "benchmarks/results/numerics.json"
LIBRARY = "H and inverse, float64; P cast to float32"


@pytest.mark.parametrize("shape", [(3, 5), (40, 5)], ids=["few", "many"])
def test_the_truth_is_the_explicit_inverse(shape: tuple[int, int]) -> None:
    rows = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    H = rows.T.astype(np.float64) @ rows.astype(np.float64)
    expected = np.linalg.inv(np.eye(5) + H / numerics.DAMPING)
    np.testing.assert_allclose(exact_projection(rows), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_matrix_for_few_mild_vectors(form: str) -> None:
    rows = np.random.default_rng(1).normal(size=(40, 6)).astype(np.float32)
    truth = exact_projection(rows)
    eps = float(np.finfo(np.float32).eps)
    P = FORMS[form](rows)
    assert P.dtype == np.float32
    assert np.linalg.norm(P - truth) <= 20 * eps * 40 * np.linalg.norm(truth)


def test_only_the_library_s_form_keeps_its_precision_everywhere() -> None:
    found = measure_errors(features=48, vectors=3000, seed=0)
    assert [(row.vectors, row.form) for row in found] == [
        (kind, form) for kind in KINDS for form in FORMS
    ]
    for row in found:
        if row.form == LIBRARY:
            assert row.positive_definite
            assert row.error is not None
            assert row.error < 1e-6
    broken = [row for row in found if not row.positive_definite]
    assert {row.vectors for row in broken} == {"norms near 1e3, exponential"}
    assert LIBRARY not in {row.form for row in broken}


def test_a_form_that_overflows_or_raises_has_no_error() -> None:
    rows = np.ones((2, 3), dtype=np.float32)

    def endless(_: np.ndarray) -> np.ndarray:
        return np.full((3, 3), np.inf, dtype=np.float32)

    def refused(_: np.ndarray) -> np.ndarray:
        raise np.linalg.LinAlgError("singular")

    for compute in (endless, refused):
        row = numerics._compare("f", "v", compute, rows, np.eye(3))
        assert row.error is None
        assert not row.positive_definite


def test_the_command_prints_the_table_and_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    options = ["--features=16", "--vectors=500", "--seed=1", f"--out={file}"]
    result = CliRunner().invoke(app, ["numerics", *options])
    assert result.exit_code == 0, result.output
    assert "gaussian" in result.output
    assert "e-08" in result.output
    found = json.loads(file.read_text())
    assert len(found["rows"]) == len(FORMS) * len(KINDS)
    sizes = {(row["features"], row["count"], row["seed"]) for row in found["rows"]}
    assert sizes == {(16, 500, 1)}
    assert found["environment"]["device"] == "cpu"


@pytest.mark.skipif(not COMMITTED.exists(), reason="a copy without the results")
def test_the_table_of_the_documentation_is_that_of_the_committed_record() -> None:
    page = (COMMITTED.parents[2] / "docs/numerics.md").read_text()
    rows = json.loads(COMMITTED.read_text())["rows"]
    assert {row["form"] for row in rows} == set(FORMS)
    for form in FORMS:
        (line,) = (x for x in page.splitlines() if x.startswith(f"| {form} |"))
        cells = [cell.strip() for cell in line.split("|")[2:-1]]
        of_form = [row for row in rows if row["form"] == form]
        assert [row["vectors"] for row in of_form] == list(KINDS)
        for cell, row in zip(cells, of_form, strict=True):
            error = "fails" if row["error"] is None else f"{row['error']:.0e}"
            assert cell.startswith(error)
            assert ("not positive definite" in cell) == (not row["positive_definite"])
