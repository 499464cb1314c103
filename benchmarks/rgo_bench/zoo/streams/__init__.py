"""Streams of three tasks, of real data that is installed with packages."""

from rgo_bench.zoo.streams.digits import permuted_digits, split_digits
from rgo_bench.zoo.streams.segmentation import digits_on_photographs
from rgo_bench.zoo.streams.speech import speakers
from rgo_bench.zoo.streams.standard_library import module_snippets, next_bytes
from rgo_bench.zoo.streams.tasks import IGNORED, TASKS, Samples, Task, join

__all__ = [
    "IGNORED",
    "TASKS",
    "Samples",
    "Task",
    "digits_on_photographs",
    "join",
    "module_snippets",
    "next_bytes",
    "permuted_digits",
    "speakers",
    "split_digits",
]
