"""Sealed tokens: only what this key sealed for this purpose opens."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.sealing import Sealer, load_or_make_secret

SEALER = Sealer("s" * 64)


@given(st.binary(max_size=300), st.text(max_size=20))
def test_sealed_opens_to_what_it_was(payload: bytes, purpose: str) -> None:
    """For any content and purpose; and the token is fit for URLs and headers."""
    token = SEALER.seal(purpose, payload)
    assert SEALER.open(purpose, token) == payload
    assert all(c.isalnum() or c in "-_" for c in token)


@given(st.binary(max_size=100), st.data())
def test_any_changed_character_is_refused(payload: bytes, data: st.DataObject) -> None:
    """One character replaced, left out, doubled or added."""
    token = SEALER.seal("p", payload)
    position = data.draw(st.integers(0, len(token) - 1))
    character = data.draw(st.characters())
    changes = {
        token[:position] + character + token[position + 1 :],
        token[:position] + token[position + 1 :],
        token[:position] + token[position] + token[position:],
        token + character,
        character + token,
    }
    for changed in changes - {token}:
        with pytest.raises(ValueError, match="not a token"):
            SEALER.open("p", changed)


@given(st.text(max_size=200))
def test_any_other_text_is_refused(text: str) -> None:
    """Never another exception than ValueError."""
    with pytest.raises(ValueError, match="not a token"):
        SEALER.open("p", text)


@given(st.binary(max_size=50), st.text(max_size=9), st.text(max_size=9))
def test_token_has_one_purpose(payload: bytes, purpose: str, other: str) -> None:
    """A cursor is never a session id."""
    if purpose != other:
        with pytest.raises(ValueError, match="not a token"):
            SEALER.open(other, SEALER.seal(purpose, payload))


def test_token_of_another_key_is_refused() -> None:
    """Replicas share the key; strangers do not."""
    with pytest.raises(ValueError, match="not a token"):
        Sealer("t" * 64).open("p", SEALER.seal("p", b"x"))


def test_token_of_a_megabyte_is_refused_unread() -> None:
    """A bound before any work."""
    with pytest.raises(ValueError, match="not a token"):
        SEALER.open("p", "A" * 1_000_000)


def test_equal_content_has_different_tokens() -> None:
    """A nonce each time: nobody can tell that two sessions are alike."""
    assert SEALER.seal("p", b"x") != SEALER.seal("p", b"x")


def test_secret_is_made_once_and_is_private(tmp_path: Path) -> None:
    """The second start reads what the first one wrote; others cannot."""
    folder = tmp_path / "state"
    secret = load_or_make_secret(folder)
    assert len(secret) >= 32
    assert load_or_make_secret(folder) == secret
    assert stat.S_IMODE((folder / "seal.key").stat().st_mode) == 0o600
    assert [file.name for file in folder.iterdir()] == ["seal.key"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_that_cannot_be_written_costs_only_the_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The server starts all the same and says so."""
    tmp_path.chmod(0o500)
    assert len(load_or_make_secret(tmp_path / "state")) >= 32
    assert "sessions will end with this process" in caplog.text


@pytest.mark.parametrize("content", ["", "short", "\n"])
def test_damaged_secret_is_not_used(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A truncated file would be a key that anybody can guess."""
    (tmp_path / "seal.key").write_text(content)
    assert len(load_or_make_secret(tmp_path)) >= 32
    assert "sessions will end with this process" in caplog.text


def test_state_folder_that_is_a_file_costs_only_the_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever stands at that place."""
    file = tmp_path / "state"
    file.write_text("x")
    assert len(load_or_make_secret(file)) >= 32
    assert "sessions will end with this process" in caplog.text
