"""Who a token lets in."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aar.auth.tokens import find_researcher_id, hash_token, is_operator_token, issue_token, new_token, operator_token
from aar.errors import Forbidden, NotFound, SetupError
from aar.store import Database
from aar.store.models import Researcher


def test_only_the_hash_of_a_researchers_token_is_kept(db: Database) -> None:
    with db.writing() as session:
        token = issue_token(session, "k3v9qd-r2")
    with db.reading() as session:
        researcher = session.get(Researcher, "k3v9qd-r2")
        assert researcher is not None
        assert researcher.token_hash == hash_token(token)
        assert find_researcher_id(session, token) == "k3v9qd-r2"


def test_a_new_token_ends_the_old_one(db: Database) -> None:
    with db.writing() as session:
        old, new = issue_token(session, "k3v9qd-r2"), issue_token(session, "k3v9qd-r2")
        with pytest.raises(Forbidden):
            find_researcher_id(session, old)
        assert find_researcher_id(session, new) == "k3v9qd-r2"
        with pytest.raises(NotFound):
            issue_token(session, "k3v9qd-r9")


@pytest.mark.parametrize("token", ["", "x", "\ud800", "a" * 10**6, hash_token("")])
def test_other_texts_are_nobodys(db: Database, token: str) -> None:
    with db.reading() as session, pytest.raises(Forbidden):
        find_researcher_id(session, token)


def test_tokens_differ() -> None:
    assert len({new_token() for _ in range(100)}) == 100


def test_the_operators_token_is_made_once_and_is_private(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with ThreadPoolExecutor(8) as threads:
        tokens = {future.result() for future in [threads.submit(operator_token, home) for _ in range(8)]}
    (path,) = home.iterdir()
    assert {path.read_text().strip()} == tokens
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert is_operator_token(home, tokens.pop())
    assert not is_operator_token(home, "")


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    operator_token(tmp_path)
    (tmp_path / "operator-token").chmod(0o644)
    with pytest.raises(SetupError, match="others may read"):
        operator_token(tmp_path)


def test_an_empty_or_linked_token_is_refused(tmp_path: Path) -> None:
    (tmp_path / "operator-token").touch(mode=0o600)
    with pytest.raises(SetupError, match="empty"):
        operator_token(tmp_path)
    (tmp_path / "operator-token").rename(tmp_path / "elsewhere")
    (tmp_path / "operator-token").symlink_to("elsewhere")
    with pytest.raises(SetupError, match="cannot keep"):
        operator_token(tmp_path)
