"""Seeds, as the command line states them."""


def parse_seeds(text: str) -> list[int]:
    """Read seeds: ``3``, ``0-4`` or ``0,2,5``; each once, in their order."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"--seeds: expected 3, 0-4 or 0,2,5, got {text!r}")
        seeds += range(int(first), int(last if dash else first) + 1)
    if not seeds:
        raise ValueError(f"--seeds: expected at least one seed, got {text!r}")
    return list(dict.fromkeys(seeds))
