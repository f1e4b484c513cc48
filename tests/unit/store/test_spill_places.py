"""Which folders are taken for spilled objects."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from asyncray.errors import AsyncrayError
from asyncray.store.spill_places import own_folders


def test_each_directory_gets_a_folder_of_the_session(tmp_path: Path) -> None:
    (folder,) = own_folders([str(tmp_path / "new")], "/base/20260101-1")
    assert folder.startswith(f"{tmp_path}/new/asyncray-") and folder.endswith("-20260101-1")


def test_a_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner == 0:
        os.chown(tmp_path, 7, -1)
    with pytest.raises(AsyncrayError, match="belongs to another user"):
        own_folders([str(tmp_path)], "/base/20260101-1")


def test_a_directory_where_everybody_can_exchange_folders_is_refused_unless_it_is_sticky(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(AsyncrayError, match="everybody can exchange"):
        own_folders([str(tmp_path)], "/base/20260101-1")
    tmp_path.chmod(0o1777)
    assert own_folders([str(tmp_path)], "/base/20260101-1")
