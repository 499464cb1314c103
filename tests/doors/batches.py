"""Doors of observing: labels, masks, logits and scores."""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
from doors.one_layer import (
    INF,
    NAN,
    PARAMS,
    B,
    Door,
    M,
    N,
    X,
    Y,
    both,
    linear,
    of_jax,
    of_torch,
    project_with_jax,
)

import rgo_jax
import rgo_torch


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


observe = partial(both, observe_with_torch, observe_with_jax)

SCORES = r"scores? .*of shape \(b,\) or \(k, b\).* got "
BATCHES: dict[str, Door] = {
    # options
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
        ValueError, "mask must leave a class in play", mask=Y[:M] < 0
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
        "no score depends on the output|does the score depend on the parameters.*"
        "For a loss whose second derivative is 0, such as the absolute error",
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
}
