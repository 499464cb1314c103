"""Progress bars of runs at the terminal."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from rgo_bench.runs.spec import Spec


class Bar:
    """The bar of one run: its task, its step rate, the accuracy so far."""

    def __init__(self, progress: Progress, row: TaskID) -> None:
        self._progress = progress
        self._row = row

    def stepped(self, task: int, steps: int) -> None:
        """Move the bar."""
        self._progress.update(self._row, advance=steps, task=f"task {task + 1}")
        speed = self._progress.tasks[self._row].speed
        if speed:
            self._progress.update(self._row, rate=f"{speed:.0f} steps/s")

    def tested(self, task: int, accuracy: float) -> None:
        """Show the average accuracy on the tasks so far."""
        self._progress.update(self._row, accuracy=f"ACC {accuracy:.2f}")


class Bars:
    """The bars of several runs, one below the other, if the console is a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[task]}"),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[accuracy]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def shown(self) -> Progress:
        """Return a context inside which the bars are drawn."""
        return self._progress

    def add(self, spec: Spec) -> Bar:
        """Return a bar for a run."""
        options = spec.stream_options
        variant = f" {spec.variant}" if spec.variant else ""
        row = self._progress.add_task(
            f"{spec.method}{variant} seed {spec.seed}",
            total=options.steps * options.tasks,
            task="",
            rate="",
            accuracy="",
        )
        return Bar(self._progress, row)
