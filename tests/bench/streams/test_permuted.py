import numpy as np
from bench.small_images import small_images

from rgo_bench.streams.options import StreamOptions
from rgo_bench.streams.permuted import permuted_stream, pixel_permutation
from rgo_bench.streams.transformed import TransformedStream


def make(seed: int = 0) -> TransformedStream:
    options = StreamOptions(tasks=3, samples=20, batch=5, epochs=1, lr=0.1)
    return permuted_stream("permuted", small_images(), options, seed)


def test_every_task_the_first_too_shows_the_pixels_in_its_own_order() -> None:
    plain = small_images().test_images.reshape(12, 36) / np.float32(255)
    shown = [plain, *(make().test(index).x for index in range(3))]
    assert len({x.tobytes() for x in shown}) == 4
    for x in shown:
        np.testing.assert_array_equal(np.sort(x, axis=1), np.sort(plain, axis=1))


def test_training_and_test_images_are_permuted_alike_and_row_by_row() -> None:
    plain = small_images().test_images.reshape(12, 36) / np.float32(255)
    order = pixel_permutation(0, 1, 36)
    np.testing.assert_array_equal(make().test(1).x, plain[:, order])
    pool = (small_images().train_images.reshape(30, 36) / np.float32(255))[:, order]
    assert set(map(bytes, make().train(1).x)) <= set(map(bytes, pool))


def test_another_seed_permutes_otherwise() -> None:
    assert not np.array_equal(make(seed=0).test(0).x, make(seed=1).test(0).x)


def test_the_meaning_of_a_seed_does_not_change_from_version_to_version() -> None:
    assert pixel_permutation(0, 1, 8).tolist() == [4, 3, 6, 1, 7, 2, 5, 0]


def test_images_lie_row_by_row_in_memory() -> None:
    assert make().train(0).x.flags.c_contiguous
