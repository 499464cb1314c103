from pathlib import Path

import pytest
from bench.small_archives import write_cifar_binary, write_jpegs

from rgo_bench.streams.sources import CIFAR100, DIGITS, MINIIMAGENET, MNIST, Source


def test_the_digits_are_loaded_without_a_folder_and_refuse_one() -> None:
    assert DIGITS.load(None).train_images.shape == (1497, 8, 8)
    message = "data: expected no folder, for the digits come with scikit-learn, got a"
    for ask in (DIGITS.load, DIGITS.fingerprint):
        with pytest.raises(ValueError, match=message):
            ask(Path("a"))


def test_every_source_finds_its_own_images_in_a_common_folder(
    tmp_path: Path, idx_folder: Path
) -> None:
    write_cifar_binary(tmp_path / "cifar100")
    write_jpegs(tmp_path / "miniimagenet")
    sources = (MNIST, CIFAR100, MINIIMAGENET)
    prints = {source.fingerprint(tmp_path) for source in sources}
    assert len(prints) == 3
    assert all(len(each) == 8 for each in prints)


@pytest.mark.parametrize("source", [CIFAR100, MINIIMAGENET])
def test_a_folder_without_the_images_has_no_fingerprint(
    source: Source, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}: expected"):
        source.fingerprint(tmp_path)
