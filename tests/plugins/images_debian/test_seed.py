from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from banger.errors import ImageError
from banger_images_debian import seed
from banger_images_debian.seed import unpack_seed


def make_tar(path: Path, *entries: tuple[str, bytes, bytes | str]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, kind, content in entries:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.mode = 0o4751 if kind == tarfile.REGTYPE else 0o550
            if isinstance(content, str):
                info.linkname = content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def test_files_and_directories_only(tmp_path: Path) -> None:
    archive = make_tar(
        tmp_path / "seed.tar",
        (".", tarfile.DIRTYPE, b""),
        ("./dir", tarfile.DIRTYPE, b""),
        ("./dir/file", tarfile.REGTYPE, b"x"),
        ("./link", tarfile.SYMTYPE, "/etc/passwd"),
        ("./hard", tarfile.LNKTYPE, "./dir/file"),
        ("./pipe", tarfile.FIFOTYPE, b""),
        ("./device", tarfile.CHRTYPE, b""),
    )
    unpack_seed(archive, tmp_path / "seed")
    assert sorted(path.name for path in (tmp_path / "seed").rglob("*")) == ["dir", "file"]
    assert (tmp_path / "seed/dir/file").stat().st_mode & 0o7777 == 0o751
    assert (tmp_path / "seed/dir").stat().st_mode & 0o700 == 0o700


@pytest.mark.parametrize("name", ["/etc/evil", "../evil", "dir/../../evil"])
def test_unsafe_paths(tmp_path: Path, name: str) -> None:
    archive = make_tar(tmp_path / "seed.tar", (name, tarfile.REGTYPE, b"x"))
    (tmp_path / "deep").mkdir()
    with pytest.raises(ImageError, match="unsafe path"):
        unpack_seed(archive, tmp_path / "deep" / "seed")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    "entries",
    [
        (("link", tarfile.SYMTYPE, "/tmp"), ("link/evil-seed", tarfile.REGTYPE, b"x")),
        (("same", tarfile.REGTYPE, b"x"), ("same", tarfile.REGTYPE, b"y")),
        (("same", tarfile.REGTYPE, b"x"), ("same/below", tarfile.REGTYPE, b"y")),
    ],
)
def test_tricks_lead_nowhere(tmp_path: Path, entries: tuple[tuple[str, bytes, bytes | str], ...]) -> None:
    archive = make_tar(tmp_path / "seed.tar", *entries)
    try:
        unpack_seed(archive, tmp_path / "seed")
    except ImageError:
        pass
    assert not Path("/tmp/evil-seed").exists()
    assert not any(path.is_symlink() for path in (tmp_path / "seed").rglob("*"))


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seed, "MAX_BYTES", 10)
    archive = make_tar(tmp_path / "seed.tar", ("file", tarfile.REGTYPE, b"x" * 11))
    with pytest.raises(ImageError, match="more than"):
        unpack_seed(archive, tmp_path / "seed")


def test_broken_archive(tmp_path: Path) -> None:
    (tmp_path / "seed.tar").write_bytes(b"nonsense" * 100)
    with pytest.raises(ImageError, match="cannot be unpacked"):
        unpack_seed(tmp_path / "seed.tar", tmp_path / "seed")
