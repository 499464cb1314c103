"""A strategy of Avalanche with the plugin learns as a loop of one's own does."""

from typing import Any

import pytest
import torch
from integrations.own_loop import STEPS, TASKS, learn, network, sgd, task_data
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from torch_backend.nets import CLASSES, assert_same, weights_of

# Avalanche needs torchvision, which is not installed for the tests.
avalanche = pytest.importorskip("avalanche", exc_type=ImportError)

from avalanche.benchmarks import (  # noqa: E402
    benchmark_from_datasets,
    task_incremental_benchmark,
    with_classes_timeline,
)
from avalanche.benchmarks.utils import as_classification_dataset  # noqa: E402
from avalanche.core import SupervisedPlugin  # noqa: E402
from avalanche.models import MultiHeadClassifier, MultiTaskModule  # noqa: E402
from avalanche.models.utils import avalanche_model_adaptation  # noqa: E402
from avalanche.training import Naive  # noqa: E402
from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin  # noqa: E402

from rgo_torch.integrations.avalanche_plugin import RGOPlugin  # noqa: E402

# The library's own.
pytestmark = pytest.mark.filterwarnings("ignore")


def dataset(task: int) -> Any:
    x, y = task_data(task)
    data = TensorDataset(x, y)
    data.targets = y.tolist()
    return as_classification_dataset(data)


def benchmark() -> Any:
    datasets = [dataset(task) for task in range(TASKS)]
    return benchmark_from_datasets(train=datasets, test=datasets)


def strategy(model: nn.Module, *plugins: Any, **options: Any) -> Any:
    given = {
        "train_mb_size": 16,
        "eval_mb_size": 16,
        "train_epochs": STEPS,
        "evaluator": EvaluationPlugin(loggers=[]),
    }
    optimizer = sgd(model.parameters())
    return Naive(model=model, optimizer=optimizer, plugins=plugins, **given | options)


def benchmark_of_tasks() -> Any:
    """Return the benchmark with a label and the classes of each task."""
    return with_classes_timeline(task_incremental_benchmark(benchmark()))


class Seen(SupervisedPlugin):
    """Keeps the logits of every experience that is evaluated."""

    def __init__(self) -> None:
        super().__init__()
        self.logits: list[Tensor] = []

    def after_eval_forward(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.logits.append(strategy.mb_output.clone())


def test_a_strategy_equals_a_loop_of_one_s_own() -> None:
    model, expected = network(), network()
    plugin = RGOPlugin(seed=3)
    naive = strategy(model, plugin)
    for experience in benchmark().train_stream:
        naive.train(experience, shuffle=False)
    rgo = learn(expected, sgd, seed=3)
    assert_same(weights_of(model), weights_of(expected))
    assert_same(plugin.state_dict()["rgo"], rgo.state_dict())


def test_every_experience_is_evaluated_in_its_task() -> None:
    model, plugin, seen = network(), RGOPlugin(), Seen()
    naive = strategy(model, plugin, seen)
    stream = benchmark()
    for experience in stream.train_stream[:2]:
        naive.train(experience)
    naive.eval(stream.test_stream)
    # The third was not trained: the newest task's encoding.
    for index, task in enumerate([0, 1, 1]):
        with plugin.task(task):
            assert torch.equal(seen.logits[index], model(task_data(index)[0]))


def test_evaluation_while_training_leaves_the_training_as_it_is() -> None:
    models = network(), network()
    both = RGOPlugin(), RGOPlugin()
    for model, plugin, every in zip(models, both, (-1, 1), strict=True):
        stream = benchmark()
        naive = strategy(model, plugin, eval_every=every)
        for experience in stream.train_stream:
            naive.train(experience, eval_streams=[stream.test_stream], shuffle=False)
    assert_same(weights_of(models[0]), weights_of(models[1]))


def test_a_replay_memory_is_not_observed() -> None:
    plugin = RGOPlugin()
    naive = strategy(network(), plugin, ReplayPlugin(mem_size=20))
    for experience in benchmark().train_stream:
        naive.train(experience)
    parameters = plugin.state_dict()["rgo"]["parameters"].values()
    assert {int(entry["count"]) for entry in parameters} == {16 * TASKS}


class Heads(MultiTaskModule):
    """A head for each task, which Avalanche computes in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(12, 8)
        self.heads = MultiHeadClassifier(8, CLASSES, masking=False)

    def forward(self, x: Tensor, task_labels: Tensor) -> Tensor:
        return self.heads(self.body(x.float()).relu(), task_labels)


def test_heads_of_a_multi_task_module_are_observed_in_their_task() -> None:
    model, stream = Heads(), benchmark_of_tasks()
    for experience in stream.train_stream:
        avalanche_model_adaptation(model, experience)
    heads = [f"heads.classifiers.{task}.classifier" for task in range(TASKS)]
    plugin, seen = RGOPlugin(unencoded=heads), Seen()
    naive = strategy(model, plugin, seen)
    for experience in stream.train_stream:
        naive.train(experience)
    parameters = plugin.state_dict()["rgo"]["parameters"]
    assert int(parameters["body.weight"]["count"]) == 16 * TASKS
    for head in heads:
        assert int(parameters[f"{head}.weight"]["count"]) == 16
    naive.eval(stream.test_stream)
    with plugin.task(1):
        x, _ = task_data(1)
        expected = model(x, torch.ones(len(x), dtype=torch.int64))
    assert torch.equal(seen.logits[1], expected)


def test_heads_that_come_with_their_experience_are_refused() -> None:
    model, stream = Heads(), benchmark_of_tasks()
    naive = strategy(model, RGOPlugin(encode=False))
    first, second, _ = stream.train_stream
    naive.train(first)
    with pytest.raises(ValueError, match="make every head and adapter before training"):
        naive.train(second)


def test_a_stream_goes_on_in_another_process() -> None:
    model, plugin = network(), RGOPlugin(seed=3)
    stream = benchmark()
    naive = strategy(model, plugin)
    for experience in stream.train_stream:
        naive.train(experience, shuffle=False)
    resumed, first, loaded = network(), RGOPlugin(seed=3), RGOPlugin(seed=3)
    strategy(resumed, first).train(stream.train_stream[0], shuffle=False)
    first.detach()
    loaded.load_state_dict(first.state_dict())
    naive = strategy(resumed, loaded)
    naive.eval(stream.test_stream)
    for experience in stream.train_stream[1:]:
        naive.train(experience, shuffle=False)
    assert_same(weights_of(resumed), weights_of(model))
    assert_same(loaded.state_dict(), plugin.state_dict())
