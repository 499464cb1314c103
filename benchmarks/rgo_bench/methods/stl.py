"""STL, single-task learning: the reference that has nothing to forget."""

from typing import ClassVar

from rgo_bench.methods.method import NetworkMethod


class STL(NetworkMethod):
    """A network of its own for every task, drawn anew.

    Liu and Liu (ICLR 2022) call it the upper bound of a method without transfer.
    Accuracies on earlier tasks are those of the earlier networks.
    """

    keeps_tasks: ClassVar[bool] = True

    def begin_task(self, task: int) -> None:
        """Draw the weights anew."""
        super().begin_task(task)
        fresh = self.setting.make_network(task_seed(self.setting.seed, task))
        self.network.load_state_dict(fresh.state_dict())

    def kept_bytes(self) -> int:
        """Return the bytes of the networks of all tasks begun.

        The state has but the last one's: accuracies on the others were taken when they
        were learned, and do not change.
        """
        return (self.current + 1) * super().kept_bytes()

    def capacity(self) -> float:
        """Return the weights of the networks of all tasks begun, in percent of one."""
        return 100.0 * (self.current + 1)


def task_seed(seed: int, task: int) -> int:
    """Return the seed of a task's network: far apart, so that no two runs share one."""
    return seed + 1_000_003 * task
