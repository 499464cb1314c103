"""The one generator behind all that is drawn: a pure function, on the host."""

import hashlib

import numpy as np


def host_generator(*numbers: int, name: str) -> np.random.Generator:
    """Return NumPy's PCG64, seeded by integers and the SHA-256 digest of a name."""
    digest = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype="<u4")
    entropy = [*(int(number) for number in numbers), *(int(word) for word in digest)]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
