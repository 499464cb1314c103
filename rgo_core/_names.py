"""What the name of a parameter tells of it."""

import re

WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
# Tables of what is added, looked up or scaled by, entry by entry.
ADDED = re.compile(r"pos|position(s|al)?|table|scales?|offsets?|gamma|beta|log")
# These name a table where they end a name, as of class_token, and what a matrix takes
# where they do not, as of token_mix.
LAST = re.compile(r"tokens?|emb|embed(ding)?s?")


def may_multiply(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a parameter may be a matrix that multiplies, for all its name says."""
    is_matrix = sum(length > 1 for length in shape) > 1
    return is_matrix and not _is_table(name)


def _is_table(name: str) -> bool:
    words = [word.lower() for word in WORD.findall(name)]
    if any(map(ADDED.fullmatch, words)):
        return True
    # Patches are embedded by a matrix.
    return bool(words and LAST.fullmatch(words[-1])) and "patch" not in words
