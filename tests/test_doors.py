"""Every door of both backends against one table: what one refuses the other does.

Values are concrete here: under a JAX transformation there are none to check, see the
last test.
"""

import tempfile
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import pytest

from rgo_core import Axes, DiagonalMoment, SecondMoment

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402

import rgo_jax  # noqa: E402
import rgo_torch  # noqa: E402

N, M, B = 3, 4, 5  # inputs, outputs, samples
NAN, INF = float("nan"), float("inf")
X = np.random.default_rng(0).normal(size=(B, N)).astype(np.float32)
Y = np.asarray([0, 1, 2, 3, 0])

# --- one linear layer in both


def of_torch(value: Any) -> Any:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def of_jax(value: Any) -> Any:
    return jnp.asarray(value) if isinstance(value, np.ndarray) else value


def linear() -> Any:
    torch.manual_seed(0)
    return torch.nn.Linear(N, M)


PARAMS = {
    "weight": jnp.asarray(np.random.default_rng(1).normal(size=(M, N)), jnp.float32),
    "bias": jnp.zeros(M),
}


def project_with_torch(**options: Any) -> Any:
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return rgo_torch.GradientProjector(model, optimizer, **options)


def project_with_jax(**options: Any) -> Any:
    return rgo_jax.project_gradients().init(PARAMS)


def observe_with_torch(
    x: Any = X, y: Any = Y, score: Any = None, of_logits: Any = None, **options: Any
) -> Any:
    class Model(torch.nn.Linear):
        def forward(self, x: Any) -> Any:
            logits = super().forward(x)
            return logits if of_logits is None else of_logits(logits, torch)

    model = Model(N, M)
    given = {key: of_torch(value) for key, value in options.items()}
    if score is not None:
        given["score"] = lambda model, batch: score(model(batch[0]), torch)
    return rgo_torch.second_moments(model, [(of_torch(x), of_torch(y))], **given)


def observe_with_jax(
    x: Any = X, y: Any = Y, score: Any = None, of_logits: Any = None, **options: Any
) -> Any:
    passing = {key: options.pop(key) for key in ("per", "reduce") if key in options}
    given = {key: of_jax(value) for key, value in options.items()}

    def scores(params: Any, batch: Any) -> Any:
        logits = batch[0] @ params["weight"].T + params["bias"]
        if of_logits is not None:
            logits = of_logits(logits, jnp)
        if score is not None:
            return score(logits, jnp)
        return rgo_jax.softmax_score(logits, batch[1], **given)

    batch = of_jax(x), of_jax(y)
    # By itself first: within the pass over samples JAX shows it no values.
    scores(PARAMS, batch)
    return rgo_jax.observe(
        {}, rgo_jax.curvature_vectors(scores, PARAMS, batch, **passing)
    )


@cache
def moments_of_jax() -> Any:
    """Return what every row begins with: JAX compiles the pass once."""
    return observe_with_jax()


def end_with_torch(change: Any = lambda moments: moments, **options: Any) -> Any:
    projector = project_with_torch()
    moments = change(observe_with_torch())
    return projector.consolidate(moments, **{"damping": 0.1, **options})


def end_with_jax(change: Any = lambda moments: moments, **options: Any) -> Any:
    state = project_with_jax()
    with jax.enable_x64(True):  # to change them in float64
        moments = change(moments_of_jax())
    return rgo_jax.end_task(state, moments, **options)


def encode_with_torch(
    width: Any = M, task: Any = 1, seed: Any = 0, axis: Any = -1, shape: Any = (2, M)
) -> Any:
    model = torch.nn.Sequential(rgo_torch.FeatureEncoding(width, axis))
    rgo_torch.FeatureEncoder(model, seed=seed).set_task(task)
    return model(torch.ones(shape))


def encode_with_jax(
    width: Any = M, task: Any = 1, seed: Any = 0, axis: Any = -1, shape: Any = (2, M)
) -> Any:
    encoding = rgo_jax.make_encoding(width, tasks=3, name="0", seed=seed)
    return rgo_jax.encode(jnp.ones(shape), encoding, task, axis=axis)


def layout_with_torch(overrides: Any = None, **options: Any) -> Any:
    rgo_torch.find_layout(linear(), overrides)
    return project_with_torch(**options)


def layout_with_jax(overrides: Any = None, **options: Any) -> Any:
    return rgo_jax.find_layout(PARAMS, overrides, **options)


# --- what is changed of second moments, in either


def of_weight(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda moments: {**moments, "weight": change(moments["weight"])}


def of_matrix(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return of_weight(lambda moment: moment._replace(matrix=change(moment.matrix)))


def in_single(matrix: Any) -> Any:
    is_torch = isinstance(matrix, torch.Tensor)
    return matrix.float() if is_torch else matrix.astype(jnp.float32)


def skewed(matrix: Any) -> Any:
    is_torch = isinstance(matrix, torch.Tensor)
    return matrix + (torch if is_torch else jnp).triu(0 * matrix + 1, 1)


def diagonal(moment: Any) -> Any:
    return DiagonalMoment(moment.matrix.diagonal(), moment.count)


def zeros(moments: Any) -> Any:
    return {
        name: SecondMoment(0 * moment.matrix, moment.count)
        for name, moment in moments.items()
    }


# --- what is done to a network that is projected already


def loaded_with_torch(state: Any) -> Any:
    return project_with_torch().load_state_dict(state)


def network_grows_with_torch() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(N, M))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    projector = rgo_torch.GradientProjector(model, optimizer)
    model.append(torch.nn.Linear(M, 2))
    projector.check_parameters()


def layer_is_replaced_with_torch() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(N, M))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    projector = rgo_torch.GradientProjector(model, optimizer)
    model[0] = torch.nn.Linear(N + 1, M)
    projector.check_parameters()


def update_with_jax(updates: Any, told: bool = False, state: Any = None) -> Any:
    layout = rgo_jax.find_layout({"0": PARAMS}) if told else None
    transformation = rgo_jax.project_gradients(layout)
    first = transformation.init({"0": PARAMS})
    return transformation.update(updates, first if state is None else state)


GROWN = {"0": PARAMS, "1": {"weight": jnp.ones((2, M)), "bias": jnp.zeros(2)}}
REPLACED = {"0": {"weight": jnp.ones((M, N + 1)), "bias": jnp.zeros(M)}}


def nothing_with_torch() -> None:
    rgo_torch.second_moments(torch.nn.ReLU(), [(torch.ones(B, M), of_torch(Y))])


def nothing_with_jax() -> None:
    params = {"steps": jnp.zeros(3, int)}
    batch = jnp.ones((B, M)), jnp.asarray(Y)
    score = partial(lambda params, batch: rgo_jax.softmax_score(*batch))
    rgo_jax.curvature_vectors(score, params, batch)


def none_to_project_with_torch() -> None:
    optimizer = torch.optim.SGD(linear().parameters(), lr=0.1)
    rgo_torch.GradientProjector(torch.nn.ReLU(), optimizer)


def rgo_with_torch(**options: Any) -> Any:
    model = torch.nn.Sequential(linear(), torch.nn.Linear(M, M))
    return rgo_torch.RGO(model, torch.optim.SGD(model.parameters(), lr=0.1), **options)


def end_before_it_began_with_torch() -> None:
    rgo_with_torch().end_task([(of_torch(X), of_torch(Y))])


def look_at_a_task_with_torch(task: Any) -> None:
    rgo = rgo_with_torch()
    rgo.begin_task(0)
    with rgo.task(task):
        pass


def look_at_a_task_with_jax(task: Any) -> None:
    encoding = rgo_jax.make_encoding(M, tasks=1, name="0")
    rgo_jax.encode(jnp.ones(M), encoding, task)


def load_a_sketch_with_torch() -> None:
    sketched = rgo_with_torch(max_features=2, sketch_rows=2)
    rgo_with_torch().load_state_dict(sketched.state_dict())


def load_a_sketch_with_jax() -> None:
    layout = rgo_jax.find_layout(PARAMS, max_features=2, sketch_rows=2)
    with tempfile.TemporaryDirectory() as folder:
        rgo_jax.save(f"{folder}/state.npz", rgo_jax.empty_moments(PARAMS, layout))
        rgo_jax.load(f"{folder}/state.npz", rgo_jax.empty_moments(PARAMS))


def load_nan_with_torch() -> None:
    state = rgo_with_torch().state_dict()
    state["parameters"]["0.weight"]["matrix"][0, 0] = NAN
    rgo_with_torch().load_state_dict(state)


def load_nan_with_jax() -> None:
    with jax.enable_x64(True):
        moments = of_matrix(lambda matrix: matrix * NAN)(moments_of_jax())
    with tempfile.TemporaryDirectory() as folder:
        rgo_jax.save(f"{folder}/state.npz", moments)
        rgo_jax.load(f"{folder}/state.npz", rgo_jax.empty_moments(PARAMS))


class Door(NamedTuple):
    """What is done in torch and in JAX, and how both refuse it."""

    torch: Callable[[], Any]
    jax: Callable[[], Any]
    error: Any  # one type, or torch's and JAX's
    message: Any


def both(
    with_torch: Callable[..., Any],
    with_jax: Callable[..., Any],
    error: Any,
    message: Any,
    *given: Any,
    **options: Any,
) -> Door:
    """Return the door at which both are given the same."""
    return Door(
        partial(with_torch, *given, **options),
        partial(with_jax, *given, **options),
        error,
        message,
    )


layout = partial(both, layout_with_torch, layout_with_jax)
observe = partial(both, observe_with_torch, observe_with_jax)
end = partial(both, end_with_torch, end_with_jax)
encode = partial(both, encode_with_torch, encode_with_jax)

SCORES = r"scores? .*of shape \(b,\) or \(k, b\).* got "
DOORS: dict[str, Door] = {
    # layout
    "axes of no parameter": layout(
        ValueError, r"must name parameters .*got \['head'\]", {"head": None}
    ),
    "axes that do not fit": layout(
        ValueError, "weight: inputs, outputs and groups must", {"weight": Axes((0,))}
    ),
    "axes that are none": layout(
        TypeError,
        r"\['weight'\] must be Axes or None, got \(0, 1\)",
        {"weight": (0, 1)},
    ),
    **{
        f"{option}={bad}": layout(
            ValueError, f"{option} must be an integer >= 1, got {bad}", **{option: bad}
        )
        for option in ("max_features", "sketch_rows")
        for bad in (0, 1.5)
    },
    "no parameter to project": Door(
        none_to_project_with_torch,
        lambda: rgo_jax.project_gradients().init({}),
        ValueError,
        "no parameter to project|nothing to project",
    ),
    "no parameter to observe": Door(
        nothing_with_torch,
        nothing_with_jax,
        ValueError,
        "no score depends on the output of a protected|no parameter to observe",
    ),
    # options
    **{
        f"damping={bad!r}": end(
            ValueError, "damping must be a finite number > 0, got", damping=bad
        )
        for bad in (0, -1.0, NAN, INF, "0.1", True, None)
    },
    "normalize": Door(
        partial(project_with_torch, normalize="foo"),
        partial(end_with_jax, normalize="foo"),
        ValueError,
        "normalize must be .*'weights' or 'all' or 'none', got 'foo'",
    ),
    "biases by their old name": Door(
        partial(project_with_torch, biases="foo"),
        partial(end_with_jax, biases="foo"),
        ValueError,
        "biases must be 'raw' or 'normalized', got 'foo'",
    ),
    **{
        option: observe(
            ValueError, f"{option} must be .*, got 'foo'", **{option: "foo"}
        )
        for option in ("per", "reduce", "curvature")
    },
    # labels, masks and logits
    "labels in a list": observe(
        TypeError,
        "labels must be an array, got a list|pair .* got tuple of .*'list'",
        y=Y.tolist(),
    ),
    "labels of floats": observe(
        TypeError, "labels must be integers, got dtype .*float", y=Y.astype(np.float32)
    ),
    "labels of bool": observe(TypeError, "labels must be integers", y=Y > 1),
    "labels in one-hot rows": observe(
        ValueError, r"labels must have shape \(5,\)", y=np.eye(M, dtype=np.int64)[Y]
    ),
    "too few labels": observe(ValueError, r"labels must have shape \(5,\)", y=Y[1:]),
    "labels of another number": Door(
        partial(observe_with_torch, y=Y[1:]),
        lambda: rgo_jax.curvature_vectors(
            lambda params, batch: batch[0].sum(-1), PARAMS, (of_jax(X), of_jax(Y[1:]))
        ),
        ValueError,
        r"labels must have shape \(5,\)|a batch of arrays with its samples along",
    ),
    "a label too high": observe(ValueError, r"labels must .*0\.\.3.* got .*4", y=Y + 1),
    "a label below 0": observe(ValueError, r"labels must .*0\.\.3.* got .*-1", y=Y - 1),
    "a label of a class out of play": observe(
        ValueError, r"labels must be of .*classes in play.* got .*\[3\]", mask=Y[:M] < 3
    ),
    "no class in play": observe(
        ValueError, "labels must be of .*classes in play", mask=Y[:M] < 0
    ),
    "a mask in a list": observe(
        TypeError, "mask must be .* got .*list", mask=[True] * M
    ),
    "a mask of integers": observe(TypeError, "mask must be .* of bool", mask=Y[:M]),
    "a mask of other classes": observe(
        ValueError, "mask must have the 4 classes", mask=Y[:N] < 9
    ),
    "a mask of other samples": observe(
        ValueError, "mask must be one for all samples, or", mask=np.ones((2, M), bool)
    ),
    "logits of integers": observe(
        TypeError,
        "logits must be an array of real floating-point numbers",
        of_logits=lambda logits, xp: xp.ones((B, M), dtype=xp.int32),
    ),
    **{
        f"inputs of {bad}": observe(
            ValueError, "logits must be numbers, got NaN", x=np.full_like(X, bad)
        )
        for bad in (NAN, INF)
    },
    # scores
    "a score that is none": observe(
        TypeError, "a score must be .* got a NoneType", score=lambda z, xp: None
    ),
    "a score for the batch": observe(
        ValueError, SCORES + r"\(\)", score=lambda z, xp: z.sum()
    ),
    "scores with the samples first": observe(
        ValueError, SCORES + r"\(\d, 4\)", score=lambda z, xp: z
    ),
    "scores in three axes": observe(
        ValueError, SCORES + r"\(1, 4, \d\)", score=lambda z, xp: z.mT[None]
    ),
    **{
        f"scores of {bad}": observe(
            ValueError,
            "must be finite, got",
            score=lambda z, xp, bad=bad: z.sum(-1) * bad,
        )
        for bad in (NAN, INF)
    },
    "scores of no parameter": Door(
        partial(observe_with_torch, score=lambda z, xp: xp.ones(B)),
        lambda: rgo_jax.end_task(
            project_with_jax(), observe_with_jax(score=lambda z, xp: 0 * z[:, 0])
        ),
        ValueError,
        "no score depends on the output|does the score depend on the parameters",
    ),
    **{
        f"no samples, per={per}": Door(
            partial(observe_with_torch, X[:0], Y[:0], per=per),
            lambda per=per: rgo_jax.end_task(
                project_with_jax(), observe_with_jax(X[:0], Y[:0], per=per)
            ),
            ValueError,
            "at least one .*, got none",
        )
        for per in ("sample", "batch")
    },
    "no batches": Door(
        lambda: rgo_torch.second_moments(linear(), []),
        lambda: rgo_jax.end_task(project_with_jax(), rgo_jax.empty_moments(PARAMS)),
        ValueError,
        "at least one .*, got none",
    ),
    # second moments
    "moments in a list": end(
        TypeError, "moments must be a mapping .* got a list", lambda m: list(m.values())
    ),
    "no moments": end(ValueError, "at least one parameter, got none", lambda m: {}),
    "moments of zeros": end(ValueError, "at least one vector .* got none", zeros),
    "a moment of no parameter": end(
        ValueError,
        r"moments must be named after projected parameters, got \['head'\]",
        lambda m: {**m, "head": m["weight"]},
    ),
    "a moment of another width": end(
        ValueError,
        r"weight: expected .*of shape \(3, 3\), got \(4, 4\)",
        lambda m: {**m, "weight": m["bias"]},
    ),
    "a moment of another form": end(
        TypeError,
        "weight: expected a SecondMoment.* got a DiagonalMoment",
        of_weight(diagonal),
    ),
    "a moment without a count": end(
        TypeError, "weight: expected a SecondMoment", of_weight(lambda m: m.matrix)
    ),
    "a moment of lists": end(
        TypeError,
        "weight: expected .* got .*list",
        of_matrix(lambda matrix: matrix.tolist()),
    ),
    "a moment in float32": end(
        TypeError, "weight: expected .* in float64, got .*float32", of_matrix(in_single)
    ),
    **{
        f"a moment of {bad}": end(
            ValueError,
            "weight: .* finite.* got",
            of_matrix(lambda matrix, bad=bad: matrix * bad),
        )
        for bad in (NAN, INF)
    },
    "a moment that is not symmetric": end(
        ValueError, "moment.matrix must be symmetric", of_matrix(skewed)
    ),
    "a moment that is negative": end(
        ValueError, "is not positive definite", of_matrix(lambda matrix: -9 * matrix)
    ),
    # a network that changed, a state of another
    **{
        f"a network that grew{', of a layout' if told else ''}": Door(
            network_grows_with_torch,
            partial(update_with_jax, GROWN, told),
            (RuntimeError, ValueError),
            "1.bias, 1.weight: not there when|1/bias, 1/weight: not there when",
        )
        for told in (False, True)
    },
    **{
        f"a layer that was replaced{', of a layout' if told else ''}": Door(
            layer_is_replaced_with_torch,
            partial(update_with_jax, REPLACED, told),
            (RuntimeError, ValueError),
            "0: .* was replaced|0/weight: updates of shape .* do not fit",
        )
        for told in (False, True)
    },
    "a state of another form": Door(
        load_a_sketch_with_torch,
        load_a_sketch_with_jax,
        ValueError,
        "0.weight: expected a state with the tensors .* got|expected the arrays .* got",
    ),
    "a state of NaN": Door(
        load_nan_with_torch, load_nan_with_jax, ValueError, ".* finite.* got .*NaN"
    ),
    "a task that ends before anything began": Door(
        end_before_it_began_with_torch,
        lambda: rgo_jax.end_task((), moments_of_jax()),
        (RuntimeError, ValueError),
        r"call begin_task\(0\) first|the state of an optimizer with one project_grad",
    ),
    **{
        f"looking at task {task!r} of one": both(
            look_at_a_task_with_torch,
            look_at_a_task_with_jax,
            ValueError,
            f"task must be .*one.* 0..0, got {task!r}",
            task,
        )
        for task in (1, -1, 0.0, "0", None)
    },
    "a state of something else": Door(
        partial(loaded_with_torch, {"weight": ()}),
        partial(update_with_jax, {"0": PARAMS}, state=optax.EmptyState()),
        (ValueError, TypeError),
        "expected a state with the tensors|expected the ProjectionState",
    ),
    "a state of another network": Door(
        partial(loaded_with_torch, {"head": {}}),
        lambda: rgo_jax.end_task(optax.sgd(0.1).init(PARAMS), moments_of_jax()),
        ValueError,
        "the state is of another network|the state of an optimizer with one",
    ),
    # encoding
    **{
        f"width={bad!r}": encode(
            ValueError, f"width must be an integer >= 1, got {bad}", width=bad
        )
        for bad in (0, -1, 4.0)
    },
    **{
        f"seed={bad!r}": encode(
            ValueError, f"seed must be an integer >= 0, got {bad}", seed=bad
        )
        for bad in (-1, 1.5, None)
    },
    **{
        f"task={bad!r}": encode(
            ValueError, f"task must be an integer.* got {bad!r}", task=bad
        )
        for bad in (-1, 1.0, "1", None)
    },
    **{
        f"features {shape} along axis {axis}": encode(
            ValueError, f"expected 4 channels along axis {axis}", axis=axis, shape=shape
        )
        for shape, axis in [((2, 3), -1), ((2, M), 2), ((2, M), -3), ((), -1)]
    },
}


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("door", DOORS)
def test_what_one_backend_refuses_the_other_refuses_too(
    door: str, backend: str
) -> None:
    row = DOORS[door]
    kinds = row.error if isinstance(row.error, tuple) else (row.error, row.error)
    error = kinds[backend == "jax"]
    with pytest.raises(error, match=row.message):
        (row.torch if backend == "torch" else row.jax)()


def test_where_jax_traces_it_checks_what_is_no_value() -> None:
    end = jax.jit(rgo_jax.end_task)
    state, moments = project_with_jax(), moments_of_jax()
    with jax.enable_x64(True):
        nan = of_matrix(lambda matrix: matrix * NAN)(moments)
        other = of_weight(diagonal)(moments)
    # Of values there is nothing to see: what would be refused becomes NaN, not a P.
    assert jnp.isnan(end(state, nan).weights["weight"]).all()
    with pytest.raises(TypeError, match="got a DiagonalMoment"):
        end(state, other)
    with pytest.raises(ValueError, match="at least one parameter, got none"):
        end(state, {})
