"""Files from the network, checked."""

from pathlib import Path


def download(url: str, path: Path, *, checksum: str, advice: str) -> Path:
    """Download a file, unless it is there already with the right checksum.

    Parameters
    ----------
    url : str
        Where it is.
    path : Path
        Where to save it; folders that are missing are made.
    checksum : str
        ``"sha256:"`` or ``"md5:"`` and the digits.
    advice : str
        What the user can do when it fails: the beginning of the error.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    FileNotFoundError
        If it cannot be downloaded or saved, or has another checksum; no file with a
        wrong one is left behind.
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
