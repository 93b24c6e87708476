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

from core.observability.audit_chain import AuditKey, Checked, Link, check, read_head

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


@dataclass(frozen=True, slots=True)
class _Known:
    """What the auditor knows of a log.

    Attributes:
        head: Copy of a head that the log has to go on from.
        begin: Number of the first line that has to be there.
        end: Number of a line that has to be there, where no head tells the last one.
    """

    keys: list[AuditKey] | None
    head: Path | None
    begin: int
    end: int | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the logs that the command line names; return the exit status."""
    options = _parse(arguments)
    try:
        keys = None if options.without_key else _keys(options.seal_key)
        logs = _logs(options.files or _all_logs())
        known = _Known(keys, options.head, options.begin, options.end)
        verdicts = [_verdict(log, known) for log in logs]
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
    parser.add_argument(
        "--from",
        dest="begin",
        type=int,
        default=1,
        metavar="NUMBER",
        help="first line that has to be there, where older files are archived elsewhere; what "
        "comes before it is not looked at (default: 1)",
    )
    parser.add_argument(
        "--to",
        dest="end",
        type=int,
        metavar="NUMBER",
        help="last line that has to be there, instead of what a .head file says: for archived "
        "files without the newest one",
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
    folder = ROOT / LOGS
    heads = {path.with_suffix("") for path in folder.glob("*.jsonl.head")}
    found = sorted({*folder.glob("*.jsonl"), *heads})
    if not found:
        raise CannotCheck(f"there is no audit log in {LOGS}; name the files.")
    return found


def _logs(files: Iterable[Path]) -> list[list[Path]]:
    """Return the files of each log together."""
    logs: dict[tuple[Path, str], list[Path]] = {}
    for path in dict.fromkeys(files):
        if not path.is_file() and not _head_beside(path).is_file():
            raise CannotCheck(f"{path} is not a file.")
        name = _PUT_ASIDE.fullmatch(path.stem)
        logs.setdefault((path.parent, name[1] if name else path.stem), []).append(path)
    return list(logs.values())


def _name_of(path: Path) -> Path:
    """Return the path that the server writes, of a file that it may have put aside."""
    name = _PUT_ASIDE.fullmatch(path.stem)
    return path.with_name(f"{name[1]}{path.suffix}") if name else path


def _head_beside(log: Path) -> Path:
    return Path(f"{log}.head")


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


def _verdict(paths: list[Path], known: _Known) -> tuple[bool, str]:
    """Return whether a log is well, and the line that says so."""
    log = _name_of(paths[0])
    with _unmoving(_head_beside(log)) as beside:
        sizes = {path: path.stat().st_size for path in paths if path.exists()}
    if not sizes:
        return False, f"{log}: is gone; only its head is left"
    named = None if known.keys is None else {key.name: key for key in known.keys}
    found = [
        Found(path, check(_lines(path, size), named, log=log.name, begin=known.begin))
        for path, size in sizes.items()
    ]
    found.sort(key=lambda each: (not each.checked.lines, each.checked.first.sequence))
    kept = known.head.read_bytes() if known.head is not None else beside
    wrong = (
        _first_wrong(found)
        or _wrong_beginning(found, known.begin)
        or _wrong_end(log, found, kept, known)
    )
    return (False, wrong) if wrong else (True, _praise(log, found, known))


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
    for each in found:
        if (gap := each.checked.gap) is not None:
            return (
                f"{each.path}, line {gap.line}: {gap.text}. Once that is cleared up, --from NUMBER "
                "checks what comes after it"
            )
    return None


def _wrong_beginning(found: Sequence[Found], begin: int) -> str | None:
    first = found[0].checked.first.sequence + 1
    if not found[0].checked.lines or first == begin:
        return None
    return (
        f"{found[0].path}: begins with number {first}: lines from {begin} on are missing. Give "
        f"their files too; where these are archived and were checked there, --from {first}"
    )


def _wrong_end(log: Path, found: Sequence[Found], kept: bytes | None, known: _Known) -> str | None:
    last = _last(found)
    if known.end is not None:
        if last.sequence >= known.end:
            return None
        return f"{found[-1].path}: ends with number {last.sequence}, before {known.end}"
    if kept is None:
        return (
            f"{log}: there is no .head file, so nothing tells whether lines were cut off at the "
            "end. Give --head FILE, or --to NUMBER when you know the last one"
        )
    if known.keys is None:
        return None
    head = read_head(kept, known.keys, log.name)
    if head is None:
        return (
            f"{found[-1].path}: its head was changed, is signed with another key, or is of a log "
            "with another name"
        )
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


def _praise(log: Path, found: Sequence[Found], known: _Known) -> str:
    filled = [each.checked for each in found if each.checked.lines]
    if not filled:
        return f"{log}: has no lines"
    first, last = filled[0].first.sequence + 1, filled[-1].last.sequence
    services = sorted(set().union(*(checked.services for checked in filled)))
    said = f"{log}: whole and unchanged: {last - first + 1} lines, numbers {first} to {last}, "
    said += f"of {', '.join(services)}, {filled[0].since} to {filled[-1].until}"
    if lost := sum(checked.lost for checked in filled):
        said += f"; the server lost {lost} lines, and says where"
    if first != 1:
        said += "; what came before was not looked at"
    if known.keys is None:
        said += "; checked without a key: whoever changed it could have written it anew"
    return said


if __name__ == "__main__":
    sys.exit(main())
