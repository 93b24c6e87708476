"""Showing and following logs."""

from __future__ import annotations

from pathlib import Path

from scripts.deploy import log_files


def test_a_missing_log_has_no_lines(tmp_path: Path) -> None:
    """A service that never ran has none, which is no error."""
    assert log_files.last_lines(tmp_path / "none.log", 5) == []


def test_last_words_begin_with_the_last_error(tmp_path: Path) -> None:
    """The SQL that makes the right role has many lines; none of them is cut off."""
    log = tmp_path / "x.log"
    log.write_text("noise\n" * 50 + "error: old\nerror: superuser\n" + "GRANT …\n" * 30)
    assert log_files.last_words(log) == ["error: superuser", *["GRANT …"] * 30]
    log.write_text("noise\n" * 50)
    assert log_files.last_words(log) == ["noise"] * log_files.LAST_WORDS


def test_json_lines_are_shown_for_people() -> None:
    """Everything else is shown as it is."""
    line = '{"timestamp": "12:00", "level": "ERROR", "message": "broken", "more": 1}'
    assert log_files.readable(line) == "12:00 ERROR broken"
    assert log_files.readable('{"other": 1}') == '{"other": 1}'
    assert log_files.readable("plain") == "plain"


def test_following_survives_rotation_and_waits_for_whole_lines(tmp_path: Path) -> None:
    """The supervisor renames a log that has grown large and begins a new one."""
    log = tmp_path / "x.log"
    log.write_text("before\n")
    followed = log_files._Followed(log)
    assert list(followed.new_lines()) == []
    with log.open("a") as file:
        file.write("one\ntw")
    assert list(followed.new_lines()) == ["one"]
    with log.open("a") as file:
        file.write("o\n")
    log.rename(tmp_path / "x.log.1")
    log.write_text("three\n")
    assert list(followed.new_lines()) == ["two", "three"]
    followed.close()
