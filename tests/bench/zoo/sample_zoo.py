"""Records of runs that never were."""

from typing import Any

from rgo_bench.zoo.record import ZooRecord


def zoo_record(**fields: Any) -> ZooRecord:
    """Return a record of a run of three tasks, with `fields` in place of its own."""
    own: dict[str, Any] = {
        "model": "mixer",
        "method": "plain",
        "seed": 0,
        "options": {},
        "training": {"steps": 300, "batch": 16, "lr": 0.001},
        "parameters": 1000,
        "accuracy": [[90.0], [60.0, 80.0], [30.0, 40.0, 100.0]],
        "seconds": {"train": 8.0, "consolidate": 2.0, "evaluate": 1.0},
        "peak_mib": 50.0,
        "environment": {"python": "3.11", "device": "cpu"},
    }
    return ZooRecord(**own | fields)
