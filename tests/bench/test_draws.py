from itertools import product

from rgo_bench.streams.draws import task_generator


def test_the_same_arguments_give_the_same_draws() -> None:
    first, second = (task_generator(3, 1, "samples").random(5) for _ in range(2))
    assert first.tolist() == second.tolist()


def test_every_seed_task_and_purpose_has_draws_of_its_own() -> None:
    cases = product((0, 1, 2), (0, 1, 2), ("samples", "transform", "order"))
    draws = {task_generator(*case).integers(2**63) for case in cases}
    assert len(draws) == 27


def test_the_meaning_of_a_seed_does_not_change_from_version_to_version() -> None:
    assert task_generator(0, 0, "samples").integers(1000, size=4).tolist() == [
        17,
        565,
        909,
        935,
    ]
