"""A directory with all that a path can lead to, beside a secret, and paths with what each answers.

`{root}` in a path stands for the root's own path, `{secret}` for the secret's directory.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

CANARY = "canary-7f3a91"
LONG_NAME = "n" * 255
DEEP = "/".join(["d" * 200] * 10)


@dataclass(frozen=True, slots=True)
class Tree:
    """Where the files are.

    Attributes:
        root: Served as `docs`.
        secret: Beside it; holds the canary.
    """

    root: Path
    secret: Path


def build(folder: Path) -> Tree:
    """Make the tree below an empty folder."""
    root, secret = folder / "docs", folder / "secret"
    root.mkdir()
    secret.mkdir()
    (secret / "canary.txt").write_text(CANARY)
    (secret / "dir").mkdir()
    (folder / "docs-evil").mkdir()
    (folder / "docs-evil" / "canary.txt").write_text(CANARY)
    _plain(root)
    _links(root, secret)
    _special(root)
    _denied(root)
    return Tree(root, secret)


def _plain(root: Path) -> None:
    for name in PLAIN_NAMES:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"in {name}")
    (root / os.fsdecode(b"\xff\xfe.txt")).write_text("not utf-8")
    (root / os.fsdecode(b"caf\xe9.txt")).write_text("latin-1 name")
    os.link(root / "a.txt", root / "hard.txt")


PLAIN_NAMES = (
    "a.txt",
    "dir/sub/b.txt",
    "docs/c.txt",
    "sp ace.txt",
    " leading",
    "trailing ",
    "trailing.",
    "~",
    "~root",
    "...",
    "..hidden",
    "a..b",
    "%2e%2e",
    "%00",
    "back\\slash",
    "new\nline",
    "tab\tname",
    "\x7f",
    "-rf",
    "*.md",
    "$HOME",
    "`id`",
    ";ls",
    "|x",
    "CON",
    "nul.txt",
    "e\u0301.txt",
    "\u00e9.txt",
    "İ.txt",
    "ß",
    "日本.txt",
    "🐘",
    "a\u200bb",
    "\u202egnp.exe",
    "\ufeffbom",
    "http:",
    "Case.txt",
    LONG_NAME,
    f"{DEEP}/end.txt",
)


def _links(root: Path, secret: Path) -> None:
    links = {
        "in": "a.txt",
        "in_dir": "dir",
        "dir/up": "../a.txt",
        "here": ".",
        "out": "../secret/canary.txt",
        "out_dir": "../secret",
        "out_abs": str(secret / "canary.txt"),
        "out_abs_dir": str(secret),
        "in_abs": str(root / "a.txt"),
        "around": "../docs/a.txt",
        "parent": "..",
        "slash": "/",
        "loop": "loop",
        "loop1": "loop2",
        "loop2": "loop1",
        "dangling": "nothing",
        "dangling_out": "../secret/nothing",
        "to_environ": "/proc/self/environ",
        "to_fd": "/proc/self/fd/0",
        "to_root": "/proc/self/root",
        "to_cwd": "/proc/self/cwd",
        "to_null": "/dev/null",
        "to_zero": "/dev/zero",
        "to_passwd": "/etc/passwd",
        "to_env": ".env",
        "to_ssh": ".ssh",
        "harmless.txt": "id_rsa",
        "to_fifo": "fifo",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    above = "a.txt"
    for number in range(45):
        (root / f"chain{number}").symlink_to(above)
        above = f"chain{number}"


def _special(root: Path) -> None:
    os.mkfifo(root / "fifo")
    (root / "dir" / "empty").mkdir()
    here = os.getcwd()
    os.chdir(root)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("socket")
    finally:
        os.chdir(here)
    with (root / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with (root / "sparse.txt").open("wb") as file:
        file.write(b"start\n")
        file.truncate(1 << 30)
    (root / "empty.txt").touch()


def _denied(root: Path) -> None:
    for name in (
        ".env",
        ".env.local",
        ".env.example",
        "dir/.env",
        ".ENV.Prod",
        "id_rsa",
        "id_rsa.pub",
        "server.pem",
        "SERVER.KEY",
        ".ssh/config",
        ".git/hooks/pre-commit",
        ".git/config",
        "x/.aws/credentials",
        "x/.aws/config",
        "\uff0eenv",
        ".g\u200cit/hooks/x",
        ".netrc",
    ):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"in {name}" if name in READABLE else CANARY)


READABLE = (".env.example", ".git/config", "x/.aws/config")


def reads(name: str) -> str:
    """Return the expectation that a path leads to one of the plain files."""
    return f"in {name}"


def cases() -> list[tuple[str, str]]:
    """Return paths with the text that they give, or the code of the error."""
    return [
        *_forms(),
        *((f"docs/{name}", reads(name)) for name in PLAIN_NAMES),
        *((f"{{root}}/{name}", reads(name)) for name in PLAIN_NAMES),
        *_traversals(),
        *_links_and_what_they_answer(),
        *_kinds(),
        *_malformed(),
        *_denials(),
    ]


def _forms() -> list[tuple[str, str]]:
    return [
        ("a.txt", reads("a.txt")),
        ("./a.txt", reads("a.txt")),
        (".//./a.txt", reads("a.txt")),
        ("docs//a.txt", reads("a.txt")),
        ("docs/./dir/../a.txt", reads("a.txt")),
        ("dir/sub/../../a.txt", reads("a.txt")),
        ("docs/c.txt", "FILE_NOT_FOUND"),
        ("{root}/dir/../a.txt", reads("a.txt")),
        ("{root}/../docs/a.txt", reads("a.txt")),
        ("{root}//a.txt", reads("a.txt")),
        ("/{root}/a.txt", reads("a.txt")),
        ("file://{root}/a.txt", reads("a.txt")),
        ("FILE://localhost{root}/a.txt", reads("a.txt")),
        ("file://{root}/sp%20ace.txt", reads("sp ace.txt")),
        ("file://{root}/sp ace.txt", reads("sp ace.txt")),
        ("file://{root}/%ff%FE.txt", "not utf-8"),
        ("file://{root}/caf%E9.txt", "latin-1 name"),
        ("file://{root}/new%0Aline", reads("new\nline")),
        ("file://{root}/%252e%252e", reads("%2e%2e")),
        ("file://{root}/%2500", reads("%00")),
        ("file://{root}/%61.txt", reads("a.txt")),
        ("file://{root}/back%5Cslash", reads("back\\slash")),
        ("docs/case.txt", "FILE_NOT_FOUND"),
        ("docs/caf\u00e9.txt", "FILE_NOT_FOUND"),
        ("docs/E\u0301.txt", "FILE_NOT_FOUND"),
        ("hard.txt", reads("a.txt")),
    ]


def _traversals() -> list[tuple[str, str]]:
    inside = [
        "../secret/canary.txt",
        "docs/../secret/canary.txt",
        "docs/../../etc/passwd",
        "docs/dir/../../secret/canary.txt",
        "docs/../docs/a.txt",
        "docs/..",
        "..",
        "../..",
        "../../../../../../../../etc/passwd",
        "docs/dir/sub/../../../../secret/canary.txt",
        "docs/./.././secret/canary.txt",
        "docs//..//secret/canary.txt",
        "docs/in_dir/../../secret/canary.txt",
        "docs/../docs-evil/canary.txt",
    ]
    outside = [
        "{secret}/canary.txt",
        "{secret}/nothing-is-here",
        "{secret}",
        "{root}/../secret/canary.txt",
        "{root}-evil/canary.txt",
        "{root}/../docs-evil/canary.txt",
        "{root}/dir/../../secret/canary.txt",
        "/etc/passwd",
        "/etc/nothing-is-here",
        "//etc/passwd",
        "/proc/self/environ",
        "/proc/self/root/etc/passwd",
        "/proc/1/environ",
        "/proc/self/fd/0",
        "/proc/self/cwd/pyproject.toml",
        "/dev/zero",
        "/dev/stdin",
        "/dev/fd/0",
        "/sys/kernel/uevent_seqnum",
        "/root/.bashrc",
        "/../etc/passwd",
        "/./etc/passwd",
        "file:///etc/passwd",
        "file://{secret}/canary.txt",
        "file://{root}/../secret/canary.txt",
        "file://{root}/%2e%2e/secret/canary.txt",
        "file://{root}/%2E%2E/%2e./secret/canary.txt",
        "file://localhost/etc/passwd",
    ]
    not_there = [
        "docs/..%2fsecret/canary.txt",
        "docs/%252e%252e/x",
        "docs/..\\secret\\canary.txt",
        "docs/..\\..\\etc\\passwd",
        "docs/..;/secret/canary.txt",
        "docs/\uff0e\uff0e/secret/canary.txt",
        "docs/\u2025/secret/canary.txt",
        "docs/..\u200b/secret/canary.txt",
        "docs/.. /secret/canary.txt",
        "docs/\u2215etc\u2215passwd",
        "docs/etc/passwd",
        "~nobody/secret",
        "docs/${HOME}",
        "docs/*",
        "docs/a.tx?",
        "docs/nothing/../a.txt",
    ]
    below_a_file = [
        "docs/%2e%2e/secret/canary.txt",
        "docs/.../secret/canary.txt",
        "docs/$HOME/x",
        "~/secret",
        "docs/http:/127.0.0.1/",
        "http://127.0.0.1/",
    ]
    return [
        *((path, "OUTSIDE_ROOT") for path in (*inside, *outside)),
        *((path, "FILE_NOT_FOUND") for path in not_there),
        *((path, "NOT_A_DIRECTORY") for path in below_a_file),
    ]


def _links_and_what_they_answer() -> list[tuple[str, str]]:
    refused = (
        "out",
        "out_dir/canary.txt",
        "out_dir/nothing",
        "out_abs",
        "out_abs_dir/canary.txt",
        "in_abs",
        "around",
        "parent/secret/canary.txt",
        "parent/docs/a.txt",
        "slash/etc/passwd",
        "dangling_out",
        "to_environ",
        "to_fd",
        "to_root/etc/passwd",
        "to_cwd/pyproject.toml",
        "to_null",
        "to_zero",
        "to_passwd",
        "here/here/out",
        "in_dir/../out",
    )
    return [
        ("docs/in", reads("a.txt")),
        ("docs/in_dir/sub/b.txt", reads("dir/sub/b.txt")),
        ("docs/in_dir/up", reads("a.txt")),
        ("docs/here/here/here/a.txt", reads("a.txt")),
        ("docs/chain9", reads("a.txt")),
        ("docs/chain39", reads("a.txt")),
        ("docs/chain44", "TOO_MANY_LINKS"),
        ("docs/loop", "TOO_MANY_LINKS"),
        ("docs/loop1", "TOO_MANY_LINKS"),
        ("docs/loop/x", "TOO_MANY_LINKS"),
        ("docs/dangling", "FILE_NOT_FOUND"),
        ("docs/to_fifo", "NOT_A_FILE"),
        *((f"docs/{path}", "OUTSIDE_ROOT") for path in refused),
        *((f"{{root}}/{path}", "OUTSIDE_ROOT") for path in ("out", "out_dir/canary.txt")),
    ]


def _kinds() -> list[tuple[str, str]]:
    return [
        ("", "NOT_A_FILE"),
        (".", "NOT_A_FILE"),
        ("/", "NOT_A_FILE"),
        ("docs", "NOT_A_FILE"),
        ("docs/", "NOT_A_FILE"),
        ("docs/dir", "NOT_A_FILE"),
        ("docs/dir/empty/", "NOT_A_FILE"),
        ("docs/a.txt/", reads("a.txt")),
        ("docs/a.txt/.", reads("a.txt")),
        ("docs/a.txt/x", "NOT_A_DIRECTORY"),
        ("docs/a.txt/..", "NOT_A_DIRECTORY"),
        ("docs/fifo", "NOT_A_FILE"),
        ("docs/socket", "NOT_A_FILE"),
        ("docs/sparse", "NOT_TEXT"),
        ("docs/sparse.txt", "NOT_TEXT"),
        ("docs/empty.txt", ""),
        ("docs/nothing", "FILE_NOT_FOUND"),
        ("docs/nothing/below", "FILE_NOT_FOUND"),
    ]


def _malformed() -> list[tuple[str, str]]:
    return [
        ("docs/a.txt\0", "BAD_PATH"),
        ("docs/a.txt\0.png", "BAD_PATH"),
        ("\0", "BAD_PATH"),
        ("{secret}/canary.txt\0", "BAD_PATH"),
        ("docs/" + "n" * 256, "BAD_PATH"),
        ("docs/" + "é" * 128, "BAD_PATH"),
        ("docs/" + "a/" * 3_000, "BAD_PATH"),
        ("x" * 100_000, "BAD_PATH"),
        ("/" + "x" * 100_000, "BAD_PATH"),
        ("../" * 1_500, "BAD_PATH"),
        ("C:\\Windows\\win.ini", "BAD_PATH"),
        ("C:/Windows/win.ini", "BAD_PATH"),
        ("c:", "BAD_PATH"),
        ("/C:/Windows", "BAD_PATH"),
        ("\\\\server\\share", "BAD_PATH"),
        ("\\\\?\\C:\\x", "BAD_PATH"),
        ("docs\\a.txt", "BAD_PATH"),
        ("file://server/share/x", "BAD_PATH"),
        ("file:///C:/Windows", "BAD_PATH"),
        ("file://", "BAD_PATH"),
        ("file:///%zz", "BAD_PATH"),
        ("file://{root}/a.txt?x", "BAD_PATH"),
        ("file://{root}/a.txt#x", "BAD_PATH"),
        ("file://{root}/a.txt%00", "BAD_PATH"),
        ("file://{root}%2Fa.txt", "BAD_PATH"),
        ("file://{root}/..%2fsecret", "BAD_PATH"),
        ("file:a.txt", "FILE_NOT_FOUND"),
        ("file:/etc/passwd", "FILE_NOT_FOUND"),
    ]


def _denials() -> list[tuple[str, str]]:
    denied = (
        ".env",
        ".Env",
        ".env.local",
        ".ENV.Prod",
        ".env.not-there",
        "dir/.env",
        "dir/../.env",
        "in_dir/.env",
        "id_rsa",
        "id_rsa.pub",
        "ID_RSA",
        "server.pem",
        "SERVER.KEY",
        ".ssh",
        ".ssh/config",
        ".ssh/not-there",
        ".git/hooks/pre-commit",
        ".GIT/Hooks/x",
        "x/.aws/credentials",
        "\uff0eenv",
        ".g\u200cit/hooks/x",
        ".netrc",
        "to_env",
        "to_ssh/config",
        "harmless.txt",
        "here/.env",
    )
    return [
        *((f"docs/{path}", "PATH_DENIED") for path in denied),
        *((f"{{root}}/{path}", "PATH_DENIED") for path in denied[:3]),
        ("file://{root}/%2Eenv", "PATH_DENIED"),
        ("file://{root}/.%65nv", "PATH_DENIED"),
        *((f"docs/{name}", reads(name)) for name in READABLE),
    ]
