"""Who hears of the progress of runs."""

from typing import Protocol

from rgo_bench.runs.spec import Spec


class Reporter(Protocol):
    """Hears of a run's progress."""

    def stepped(self, task: int, steps: int) -> None:
        """Hear that `steps` more steps of a task were taken."""

    def tested(self, task: int, accuracy: float) -> None:
        """Hear the average accuracy in percent after a task."""


class Silent:
    """A reporter that tells nobody."""

    def stepped(self, task: int, steps: int) -> None:
        """Do nothing."""

    def tested(self, task: int, accuracy: float) -> None:
        """Do nothing."""


class Bars(Protocol):
    """Where the progress of several runs is shown."""

    def add(self, spec: Spec) -> Reporter:
        """Return the reporter of one run, when it begins."""


def report_done(reporter: Reporter, spec: Spec, tasks: int, accuracy: float) -> None:
    """Report at once what an earlier run did."""
    reporter.stepped(tasks - 1, tasks * spec.stream_options.steps)
    reporter.tested(tasks - 1, accuracy)
