import re
from itertools import product
from typing import Any, get_args

import pytest

from rgo_bench.streams.draws import Purpose, task_generator


def test_the_same_arguments_give_the_same_draws() -> None:
    first, second = (task_generator(3, 1, "samples").random(5) for _ in range(2))
    assert first.tolist() == second.tolist()


def test_every_seed_task_and_purpose_has_draws_of_its_own() -> None:
    purposes = get_args(Purpose)
    cases = product((0, 1, 2), (0, 1, 2), purposes)
    draws = {task_generator(*case).integers(2**63) for case in cases}
    assert len(draws) == 9 * len(purposes) == 36


def test_the_meaning_of_a_seed_does_not_change_from_version_to_version() -> None:
    assert task_generator(0, 0, "samples").integers(1000, size=4).tolist() == [
        17,
        565,
        909,
        935,
    ]
    assert task_generator(0, 0, "classes").permutation(100)[:4].tolist() == [
        54,
        23,
        82,
        46,
    ]


@pytest.mark.parametrize("seed", [-1, 1.0, True, "0", None])
def test_what_is_no_seed_is_refused(seed: Any) -> None:
    message = f"seed: expected an integer of at least 0, got {seed!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        task_generator(seed, 0, "samples")
