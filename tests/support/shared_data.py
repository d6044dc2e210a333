"""Real data beside the checkout, which licences keep out of it."""

import tarfile
from itertools import islice
from pathlib import Path

import pytest

from support.launch import ROOT


def unpack_shared(archive: str, members: range, folder: Path) -> Path:
    """Unpack some members of an archive in ``shared/data``; the test is skipped where there is none."""
    places = [parent / "shared" / "data" / archive for parent in ROOT.parents]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        pytest.skip(f"{archive} is not in shared/data")
    with tarfile.open(found) as content:
        for member in islice(content, members.start, members.stop, members.step):
            if member.isfile():
                assert not Path(member.name).is_absolute()
                assert ".." not in Path(member.name).parts
                path = folder / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                file = content.extractfile(member)
                assert file is not None
                path.write_bytes(file.read())
    return folder
