"""SGD: the lower bound, which forgets."""

from typing import ClassVar

from rgo_bench.methods.method import NetworkMethod


class SGD(NetworkMethod):
    """Plain SGD on one task after another, with nothing done against forgetting."""

    parallel: ClassVar[bool] = True
