import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from rgo_bench.data.download import download


def test_a_file_is_saved_where_asked_and_not_loaded_twice(
    serve: Callable[[Path], str], tmp_path: Path
) -> None:
    (tmp_path / "some").write_bytes(b"content")
    checksum = f"sha256:{hashlib.sha256(b'content').hexdigest()}"
    url, path = serve(tmp_path) + "some", tmp_path / "new" / "saved"
    assert download(url, path, checksum=checksum, advice="") == path
    assert path.read_bytes() == b"content"
    (tmp_path / "some").unlink()
    assert download(url, path, checksum=checksum, advice="") == path


def test_another_checksum_is_refused_after_the_advice_and_leaves_no_file(
    serve: Callable[[Path], str], tmp_path: Path
) -> None:
    (tmp_path / "some").write_bytes(b"content")
    checksum = f"md5:{'0' * 32}"
    message = r"^Do this\.\nThe download failed with: .*does not match the known hash"
    with pytest.raises(FileNotFoundError, match=message):
        download(
            serve(tmp_path) + "some",
            tmp_path / "new" / "saved",
            checksum=checksum,
            advice="Do this.",
        )
    assert list((tmp_path / "new").iterdir()) == []
