"""A cache where everybody can write, as in /tmp: what others have put there before is not followed."""

import os
import stat
import tempfile
from pathlib import Path

import numpy as np
import pytest

from fedsim.data.storage.cache import cache_folder, cached_arrays, is_lasting
from fedsim.errors import FedsimWarning
from support.data_checks import refuse

SOMEBODY = 4242

pytestmark = pytest.mark.timeout(60)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def ten(folder: Path) -> None:
    np.save(folder / "ten.npy", np.arange(10))


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """What a link leads to: arrays that look right, and are not."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    np.save(folder / "ten.npy", np.zeros(10, dtype=np.int64))
    return folder


def made_again() -> list[int]:
    with pytest.warns(FedsimWarning, match="is damaged .* and is made again"):
        values: list[int] = cached_arrays("a", ["ten"], ten)["ten"].tolist()
    assert cached_arrays("a", ["ten"], refuse)["ten"].tolist() == values
    return values


def planted_link(cache: Path, elsewhere: Path, whole: bool) -> Path:
    """In the place of the arrays' folder, or of one array."""
    link = cache / "a"
    if not whole:
        link.mkdir()
        link /= "ten.npy"
    link.symlink_to(elsewhere if whole else elsewhere / "ten.npy")
    return link


@pytest.mark.parametrize("whole", [True, False])
def test_a_link_of_ones_own_leads_to_the_data(cache: Path, elsewhere: Path, whole: bool) -> None:
    """Who has little room at home moves what is large elsewhere."""
    planted_link(cache, elsewhere, whole)
    assert cached_arrays("a", ["ten"], refuse)["ten"].tolist() == [0] * 10


@as_root
@pytest.mark.parametrize("whole", [True, False])
def test_links_of_others_in_a_cache_are_not_followed(cache: Path, elsewhere: Path, whole: bool) -> None:
    link = planted_link(cache, elsewhere, whole)
    os.chown(link, SOMEBODY, SOMEBODY, follow_symlinks=False)
    assert made_again() == list(range(10))
    assert np.load(elsewhere / "ten.npy").sum() == 0
    assert not (cache / "a").is_symlink()


def test_a_link_to_nothing_is_replaced(cache: Path) -> None:
    (cache / "a").symlink_to(cache / "nowhere")
    assert cached_arrays("a", ["ten"], ten)["ten"].tolist() == list(range(10))
    assert cached_arrays("a", ["ten"], refuse)["ten"].tolist() == list(range(10))


def test_a_fifo_in_a_cache_is_not_waited_for(cache: Path) -> None:
    (cache / "a").mkdir()
    os.mkfifo(cache / "a" / "ten.npy")
    assert made_again() == list(range(10))


@as_root
def test_a_link_that_another_user_has_made_is_not_the_cache(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = tmp_path / "public"
    public.mkdir()
    public.chmod(0o1777)
    link = public / "cache"
    link.symlink_to(elsewhere)
    os.chown(link, SOMEBODY, SOMEBODY, follow_symlinks=False)
    monkeypatch.setenv("FEDSIM_CACHE", str(link))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert not is_lasting()
    with pytest.warns(FedsimWarning, match="is not used .it is a link that another user has made"):
        cached_arrays("a", ["ten"], ten)
    assert [path.name for path in elsewhere.iterdir()] == ["ten.npy"]
    os.chown(link, os.geteuid(), -1, follow_symlinks=False)
    cached_arrays("a", ["ten"], ten)
    assert is_lasting()
    assert (elsewhere / "a").is_dir()


@pytest.mark.parametrize("planted", ["a link", "a folder of another", "a folder for all"])
def test_without_a_home_the_cache_is_ones_own(
    planted: str, tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: object) -> Path:
        raise RuntimeError

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(Path, "home", nobody)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("FEDSIM_CACHE", "")
    folder = cache_folder()
    assert folder.parent == tmp_path
    if planted == "a link":
        folder.symlink_to(elsewhere)
    else:
        folder.mkdir()
        folder.chmod(0o777 if planted == "a folder for all" else 0o755)
        if planted == "a folder of another":
            if os.geteuid() != 0:
                pytest.skip("only root can give files away")
            os.chown(folder, SOMEBODY, SOMEBODY)
    before = sorted(folder.iterdir())
    with pytest.warns(FedsimWarning, match="is not used .others can write it"):
        cached_arrays("a", ["ten"], ten)
    assert sorted(folder.iterdir()) == before


def test_a_cache_is_found_by_the_rule_for_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FEDSIM_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "~/cached")
    assert cache_folder() == tmp_path / "cached" / "fedsim"
    cached_arrays("a", ["ten"], ten)
    assert stat.S_IMODE((tmp_path / "cached" / "fedsim").stat().st_mode) & 0o002 == 0
