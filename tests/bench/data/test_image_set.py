import numpy as np

from rgo_bench.data import ImageSet


def test_the_number_of_classes_counts_labels_of_either_part(images: ImageSet) -> None:
    assert images.classes == 10
    assert images._replace(test_labels=np.full(12, 46)).classes == 47
