"""What continual learning is measured by.

All from one matrix R of shape (T, T): ``R[t, k]`` is the accuracy on task k after
training on task t, NaN where it was not tested, in any unit (here: percent).
"""

from rgo_core._checks import check_floating, check_square
from rgo_core._namespace import resolve
from rgo_core._typing import Array, Namespace


def average_accuracy(accuracy: Array, *, xp: Namespace | None = None) -> Array:
    """Return ACC, the mean accuracy over all tasks after the last: ``mean_k R[T, k]``.

    Parameters
    ----------
    accuracy : array (T, T)
        R.
    xp : namespace, optional
        The array namespace; that of the array where None.

    Returns
    -------
    array ()
        NaN if the last row is not complete.

    Raises
    ------
    TypeError
        If the array is not real floating-point.
    ValueError
        If it is not square.

    References
    ----------
    Lopez-Paz and Ranzato, "Gradient Episodic Memory", NeurIPS 2017.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> float(rgo_core.average_accuracy(np.asarray([[90.0, np.nan], [80.0, 90.0]])))
    85.0
    """
    xp = _resolve_square(accuracy, xp)
    return xp.mean(accuracy[-1, :])


def backward_transfer(accuracy: Array, *, xp: Namespace | None = None) -> Array:
    """Return BWT, ``mean_{k<T} (R[T, k] - R[k, k])``: negative where it forgets.

    Parameters
    ----------
    accuracy : array (T, T)
        R.
    xp : namespace, optional
        The array namespace; that of the array where None.

    Returns
    -------
    array ()
        Zero for a single task that was tested.

    Raises
    ------
    TypeError
        If the array is not real floating-point.
    ValueError
        If it is not square.

    References
    ----------
    Lopez-Paz and Ranzato (2017).

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> float(rgo_core.backward_transfer(np.asarray([[90.0, np.nan], [80.0, 90.0]])))
    -10.0
    """
    xp = _resolve_square(accuracy, xp)
    change = accuracy[-1, :] - xp.linalg.diagonal(accuracy)
    return xp.sum(change) / max(accuracy.shape[0] - 1, 1)


def forward_transfer(
    accuracy: Array, untrained: Array, *, xp: Namespace | None = None
) -> Array:
    """Return FWT, ``mean_{k>1} (R[k-1, k] - untrained[k])``.

    Parameters
    ----------
    accuracy : array (T, T)
        R, with the entries above the diagonal tested.
    untrained : array (T,)
        The accuracy on each task of the network before any training.
    xp : namespace, optional
        The array namespace; that of the arrays where None.

    Returns
    -------
    array ()
        NaN where the next task was not tested before its training; zero for one task.

    Raises
    ------
    TypeError
        If an array is not real floating-point.
    ValueError
        If `accuracy` is not square or `untrained` does not have T entries.

    References
    ----------
    Lopez-Paz and Ranzato (2017).

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> R = np.asarray([[90.0, 15.0], [80.0, 90.0]])
    >>> float(rgo_core.forward_transfer(R, np.asarray([10.0, 10.0])))
    5.0
    """
    xp = _resolve_square(accuracy, xp)
    check_floating("untrained", untrained, xp)
    if untrained.shape != accuracy.shape[:1]:
        raise ValueError(
            f"untrained must have one entry for each of {accuracy.shape[0]} tasks, "
            f"got shape {tuple(untrained.shape)}"
        )
    ahead = xp.linalg.diagonal(accuracy, offset=1) - untrained[1:]
    return xp.sum(ahead) / max(accuracy.shape[0] - 1, 1)


def forgetting(accuracy: Array, *, xp: Namespace | None = None) -> Array:
    """Return the mean over k<T of the best accuracy so far minus the last.

    Parameters
    ----------
    accuracy : array (T, T)
        R; entries that were not tested are NaN and do not count as best.
    xp : namespace, optional
        The array namespace; that of the array where None.

    Returns
    -------
    array ()
        Positive where tasks are forgotten; zero for a single task that was tested; NaN
        unless every task before the last was tested in the last row and in an earlier
        one.

    Raises
    ------
    TypeError
        If the array is not real floating-point.
    ValueError
        If it is not square.

    References
    ----------
    Chaudhry et al., "Riemannian Walk for Incremental Learning", ECCV 2018.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> float(rgo_core.forgetting(np.asarray([[90.0, np.nan], [80.0, 90.0]])))
    10.0
    """
    xp = _resolve_square(accuracy, xp)
    tasks = accuracy.shape[0]
    if tasks == 1:
        return xp.sum(accuracy * 0)
    earlier, last = accuracy[:-1, :-1], accuracy[-1, :-1]
    tested = ~xp.isnan(earlier)
    best = xp.max(xp.where(tested, earlier, xp.full_like(earlier, -xp.inf)), axis=0)
    known = xp.any(tested, axis=0)
    return xp.mean(xp.where(known, best - last, xp.full_like(last, xp.nan)))


def learning_accuracy(accuracy: Array, *, xp: Namespace | None = None) -> Array:
    """Return the mean accuracy on each task right after its training: the diagonal's.

    Parameters
    ----------
    accuracy : array (T, T)
        R.
    xp : namespace, optional
        The array namespace; that of the array where None.

    Returns
    -------
    array ()

    Raises
    ------
    TypeError
        If the array is not real floating-point.
    ValueError
        If it is not square.

    References
    ----------
    Riemer et al., "Learning to Learn without Forgetting", ICLR 2019.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> float(rgo_core.learning_accuracy(np.asarray([[90.0, np.nan], [80.0, 92.0]])))
    91.0
    """
    xp = _resolve_square(accuracy, xp)
    return xp.mean(xp.linalg.diagonal(accuracy))


def _resolve_square(accuracy: Array, xp: Namespace | None) -> Namespace:
    xp = resolve(xp, accuracy)
    check_floating("accuracy", accuracy, xp)
    check_square("accuracy", accuracy)
    if accuracy.ndim != 2 or accuracy.shape[0] < 1:
        raise ValueError(
            "accuracy must have shape (T, T) for at least one task, "
            f"got {tuple(accuracy.shape)}"
        )
    return xp
