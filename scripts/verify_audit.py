"""`scripts/verify-audit`: check audit logs, and say in one line each what was found.

Exit status 0 when all is well, 1 when something is wrong with a log, 2 when it cannot be checked.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import itertools
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.observability.audit_chain import BEGINNING, AuditKey, Checked, Link, check, read_head

ROOT = Path(__file__).resolve().parent.parent
KEY_VARIABLE = "MCP_HTTP_SECURITY__SEAL_KEY"
KEY_FILES = (".run/secrets/seal.key", ".run/state/seal.key")
LOGS = ".run/audit"
_PUT_ASIDE = re.compile(r"(.*)-[0-9]{12}")


class CannotCheck(Exception):
    """A file or a key is missing; nothing is said about the log."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one file of a log has come to."""

    path: Path
    checked: Checked


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the logs that the command line names; return the exit status."""
    options = _parse(arguments)
    try:
        keys = None if options.without_key else _keys(options.seal_key)
        logs = _logs(options.files or _all_logs())
        verdicts = [_verdict(log, keys, options.head) for log in logs]
    except (CannotCheck, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for is_well, text in verdicts:
        print(text, file=sys.stdout if is_well else sys.stderr)
    return 0 if all(is_well for is_well, _ in verdicts) else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/verify-audit",
        description="Check audit logs: whether lines were changed, added, moved or cut out. Give "
        "all files of a log at once; which belong together is seen from their names.",
        epilog="Exit status: 0 all is well, 1 something is wrong with a log, 2 it cannot be "
        "checked.",
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help=f"default: {LOGS}/*")
    parser.add_argument(
        "--seal-key",
        action="append",
        type=Path,
        metavar="FILE",
        help=f"file with the seal key that the server had; may be given again for older ones "
        f"(default: {KEY_VARIABLE}, or {' and '.join(KEY_FILES)})",
    )
    parser.add_argument(
        "--without-key",
        action="store_true",
        help="look at the chain only: finds damage, not whoever writes the rest anew",
    )
    parser.add_argument(
        "--head",
        type=Path,
        metavar="FILE",
        help="copy of a .head file kept elsewhere, which the log has to go on from "
        "(default: the one beside the log)",
    )
    return parser.parse_args(arguments)


# --- keys and files -------------------------------------------------------------------------------


def _keys(files: Sequence[Path] | None) -> list[AuditKey]:
    if files:
        return [AuditKey(path.read_text(encoding="ascii").strip()) for path in files]
    secrets = [os.environ[KEY_VARIABLE]] if os.environ.get(KEY_VARIABLE) else []
    known = [ROOT / name for name in KEY_FILES if (ROOT / name).exists()]
    secrets += [path.read_text(encoding="ascii").strip() for path in known]
    if not secrets:
        raise CannotCheck(
            "there is no seal key here. Give --seal-key FILE, or --without-key to look at the "
            "chain only."
        )
    return [AuditKey(secret) for secret in secrets]


def _all_logs() -> list[Path]:
    found = sorted((ROOT / LOGS).glob("*.jsonl"))
    if not found:
        raise CannotCheck(f"there is no audit log in {LOGS}; name the files.")
    return found


def _logs(files: Iterable[Path]) -> list[list[Path]]:
    """Return the files of each log together."""
    logs: dict[tuple[Path, str], list[Path]] = {}
    for path in dict.fromkeys(files):
        if not path.is_file():
            raise CannotCheck(f"{path} is not a file.")
        name = _PUT_ASIDE.fullmatch(path.stem)
        logs.setdefault((path.parent, name[1] if name else path.stem), []).append(path)
    return list(logs.values())


def _name_of(path: Path) -> Path:
    """Return the path that the server writes, of a file that it may have put aside."""
    name = _PUT_ASIDE.fullmatch(path.stem)
    return path.with_name(f"{name[1]}{path.suffix}") if name else path


@contextlib.contextmanager
def _unmoving(head: Path) -> Iterator[bytes | None]:
    """Hold the server up for a moment; yield what its head says, None without one."""
    try:
        fd = os.open(head, os.O_RDONLY)
    except FileNotFoundError:
        yield None
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield os.read(fd, 4096)
    finally:
        os.close(fd)


def _lines(path: Path, size: int) -> Iterator[bytes]:
    """Yield the lines of the first `size` bytes; what comes after them is newer than the head."""
    with path.open("rb") as file:
        while size > 0 and (line := file.readline(size)):
            size -= len(line)
            yield line


# --- what is said ---------------------------------------------------------------------------------


def _verdict(paths: list[Path], keys: list[AuditKey] | None, head: Path | None) -> tuple[bool, str]:
    """Return whether a log is well, and the line that says so."""
    log = _name_of(paths[0])
    with _unmoving(log.with_name(f"{log.name}.head")) as beside:
        sizes = {path: path.stat().st_size for path in paths}
    named = None if keys is None else {key.name: key for key in keys}
    found = [Found(path, check(_lines(path, sizes[path]), named)) for path in paths]
    found.sort(key=lambda each: (not each.checked.lines, each.checked.first.sequence))
    kept = head.read_bytes() if head is not None else beside
    wrong = _first_wrong(found) or _wrong_end(found, kept, keys)
    return (False, wrong) if wrong else (True, _praise(log, found, kept, keys))


def _first_wrong(found: Sequence[Found]) -> str | None:
    for each in found:
        if (problem := each.checked.problem) is not None:
            return f"{each.path}, line {problem.line}: {problem.text}"
    filled = [each for each in found if each.checked.lines]
    for before, after in itertools.pairwise(filled):
        end, begin = before.checked.last, after.checked.first
        if end != begin:
            return (
                f"{after.path}, line 1: follows number {begin.sequence}, but {before.path.name} "
                f"ends with {end.sequence}: lines are missing, or one of the files was changed"
            )
    return None


def _wrong_end(
    found: Sequence[Found], kept: bytes | None, keys: list[AuditKey] | None
) -> str | None:
    if kept is None or keys is None:
        return None
    head, last = read_head(kept, keys), _last(found)
    if head is None:
        return f"{found[-1].path}: its head was changed, or is signed with another key"
    if head.sequence > last.sequence:
        return (
            f"{found[-1].path}: ends with number {last.sequence}, but {head.sequence} was "
            "written: the last lines were cut off"
        )
    hashes = {number: hash_ for each in found for number, hash_ in each.checked.hashes.items()}
    if hashes.get(head.sequence, head.hash) != head.hash:
        return f"{found[-1].path}: number {head.sequence} is not what was written"
    return None


def _last(found: Sequence[Found]) -> Link:
    return max((each.checked.last for each in found), key=lambda link: link.sequence)


def _praise(
    log: Path, found: Sequence[Found], kept: bytes | None, keys: list[AuditKey] | None
) -> str:
    filled = [each.checked for each in found if each.checked.lines]
    if not filled:
        return f"{log}: has no lines"
    first, last = filled[0].first.sequence + 1, filled[-1].last.sequence
    said = f"{log}: whole and unchanged: {last - first + 1} lines, numbers {first} to {last}, "
    said += f"{filled[0].since} to {filled[-1].until}"
    if lost := sum(checked.lost for checked in filled):
        said += f"; the server lost {lost} lines, and says where"
    if filled[0].first != BEGINNING:
        said += "; what came before is not among these files"
    if kept is None:
        said += "; nothing tells whether lines were cut off at the end (no .head file)"
    if keys is None:
        said += "; checked without a key: whoever changed it could have written it anew"
    return said


if __name__ == "__main__":
    sys.exit(main())
