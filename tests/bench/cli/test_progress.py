import io
from pathlib import Path

from bench.short_runs import InterruptedRunError, Listener, short_spec
from rich.console import Console

from rgo_bench.cli.progress import Bars
from rgo_bench.runs.run import run


def shown(out: Path, *, terminal: bool, **options: int) -> str:
    """What a run draws, on a console that is a terminal or not."""
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=terminal, width=120)
    bars = Bars(console)
    spec = short_spec("sgd", **options)
    with bars.shown():
        run(spec, out, reporter=bars.add(spec))
    return drawn.getvalue()


def test_nothing_is_drawn_where_there_is_no_terminal(tmp_path: Path) -> None:
    assert shown(tmp_path, terminal=False) == ""


def test_a_terminal_shows_run_task_steps_and_accuracy(tmp_path: Path) -> None:
    drawn = shown(tmp_path, terminal=True)
    for text in ("sgd epochs=1,samples=60,tasks=3 seed 0", "task 3", "18/18", "ACC "):
        assert text in drawn


def test_a_long_run_shows_its_step_rate(tmp_path: Path) -> None:
    assert "steps/s" in shown(tmp_path, terminal=True, samples=1000)


def test_a_bar_ends_full_also_where_batches_are_uneven(tmp_path: Path) -> None:
    drawn = shown(tmp_path, terminal=True, samples=55, epochs=2, batch=25)
    assert "18/18" in drawn  # 3 tasks, 2 epochs, 3 batches


def test_a_run_that_goes_on_or_is_finished_starts_with_what_was_done(
    tmp_path: Path,
) -> None:
    spec = short_spec("sgd")
    try:
        run(spec, tmp_path, reporter=Listener(stop_in=2))
    except InterruptedRunError:
        drawn = shown(tmp_path, terminal=True)
    assert "18/18" in drawn
    assert "18/18" in shown(tmp_path, terminal=True)


def test_every_run_has_a_bar_of_its_own() -> None:
    drawn = io.StringIO()
    bars = Bars(Console(file=drawn, force_terminal=True, width=120))
    with bars.shown():
        for seed in range(2):
            bar = bars.add(short_spec("rgo", seed))
            bar.stepped(0, 6)
            bar.tested(0, 12.345)
    for text in ("rgo epochs=1,samples=60,tasks=3 seed 1", "6/18", "task 1", "12.3"):
        assert text in drawn.getvalue()
