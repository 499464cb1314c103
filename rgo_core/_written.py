"""Axes as one writes them, for messages that advise them."""


def written_axes(ndim: int) -> tuple[str, str]:
    """Return the axes of w in ``x @ w``, and those of entries that act by themselves.

    All axes of the parameter are named, without which `check_axes_fit` refuses them.

    Parameters
    ----------
    ndim : int
        How many axes w has, at least 2.

    Examples
    --------
    >>> from rgo_core._written import written_axes
    >>> written_axes(2)
    ('Axes(inputs=(0,), outputs=(1,))', 'Axes(inputs=(0, 1), diagonal=True)')
    >>> written_axes(3)[0]
    'Axes(groups=(0,), inputs=(1,), outputs=(2,))'
    """
    groups = f"groups={tuple(range(ndim - 2))}, " if ndim > 2 else ""
    return (
        f"Axes({groups}inputs=({ndim - 2},), outputs=({ndim - 1},))",
        f"Axes(inputs={tuple(range(ndim))}, diagonal=True)",
    )
