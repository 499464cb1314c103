"""Files from the network, checked."""

from pathlib import Path


def download(url: str, path: Path, *, checksum: str, advice: str) -> Path:
    """Download a file, unless it is there already with the right checksum.

    The checksum is ``"sha256:"`` or ``"md5:"`` and the digits; no file with a wrong one
    is left behind. Folders that are missing are made. Whatever fails is a
    FileNotFoundError that begins with `advice`: what the user can do then.
    """
    # pooch brings requests with it, which no command needs that downloads nothing.
    import pooch

    try:
        pooch.retrieve(url, known_hash=checksum, fname=path.name, path=path.parent)
    # requests' errors are OSErrors; pooch's wrong checksum is a ValueError.
    except (OSError, ValueError) as error:
        message = f"{advice}\nThe download failed with: {error}"
        raise FileNotFoundError(message) from error
    return path
