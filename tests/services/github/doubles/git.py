"""A repository of the real git behind the few routes of GitHub's API that read and change files.

What a tool wrote can be read with git itself, and git decides what is a fast forward.
"""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from tests.services.github.doubles.loopback import Answer, Asked, json_answer, serving

BASE = "/repos/octo/tools"
NOT_FOUND = json_answer({"message": "Not Found"}, 404)
_SOMEBODY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (
        ("NAME", "Octo"),
        ("EMAIL", "octo@example.org"),
        ("DATE", "2026-01-02T03:04:05Z"),
    )
}


@dataclass(slots=True)
class Repository:
    """The repository octo/tools, public; the credential may push to it.

    Attributes:
        facts: What differs from that, as GitHub tells it.
        requests: What came, in order.
        before_move: Called once, before a branch is moved: what somebody else does meanwhile.
    """

    folder: Path
    url: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    requests: list[Asked] = field(default_factory=list)
    before_move: Callable[[], object] | None = None

    # -- with git ---------------------------------------------------------------------------------

    def git(self, *arguments: str, text: bytes = b"") -> bytes:
        """Run git; raises `CalledProcessError` when it says no."""
        return subprocess.run(
            ["git", "--git-dir", str(self.folder), *arguments],
            input=text,
            capture_output=True,
            check=True,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "GIT_INDEX_FILE": str(self.folder / "scratch"),
                **_SOMEBODY,
            },
        ).stdout

    def word(self, *arguments: str, text: bytes = b"") -> str:
        """Run git and return the one word that it says."""
        return self.git(*arguments, text=text).decode().strip()

    def commit(self, files: Mapping[str, tuple[str, bytes]], branch: str = "main") -> str:
        """Commit files, by path their mode and content, upon a branch, and move it."""
        head = self.head(branch)
        tree = self.tree(head, [(m, self.blob(data), path) for path, (m, data) in files.items()])
        made = self.committed(tree, "Begin", [head] if head else [])
        self.git("update-ref", f"refs/heads/{branch}", made)
        return made

    def blob(self, data: bytes) -> str:
        """Store a blob."""
        return self.word("hash-object", "-w", "--stdin", text=data)

    def tree(self, base: str | None, entries: Iterable[tuple[str, str | None, str]]) -> str:
        """Store a tree upon another: mode, SHA (None deletes) and path of each file."""
        self.git("read-tree", *([base] if base else ["--empty"]))
        lines = [f"{mode if sha else 0} {sha or '0' * 40}\t{path}" for mode, sha, path in entries]
        self.git("update-index", "--index-info", text="\n".join(lines).encode())
        return self.word("write-tree")

    def committed(self, tree: str, message: str, parents: Iterable[str]) -> str:
        """Store a commit."""
        flags = [flag for parent in parents for flag in ("-p", parent)]
        return self.word("commit-tree", tree, *flags, text=message.encode())

    def head(self, branch: str = "main") -> str | None:
        """Return where a branch is; None where there is none."""
        return self.named(f"refs/heads/{branch}")

    def named(self, expression: str) -> str | None:
        """Return what an expression names; None where that is nothing."""
        try:
            return self.word("rev-parse", "--verify", "--quiet", expression)
        except subprocess.CalledProcessError:
            return None

    def entries(self, treeish: str, *, recursive: bool = True) -> list[dict[str, Any]]:
        """Return the entries of a tree as GitHub tells them."""
        flags = ["-r", "-t"] if recursive else []
        lines = self.git("ls-tree", "-l", "-z", *flags, treeish).decode().split("\0")[:-1]
        return [_entry(line) for line in lines]

    def files(self, branch: str = "main") -> dict[str, tuple[str, bytes]]:
        """Return mode and content of each file of a branch."""
        return {
            entry["path"]: (entry["mode"], self.git("cat-file", "blob", entry["sha"]))
            for entry in self.entries(f"refs/heads/{branch}")
            if entry["type"] == "blob"
        }

    def sent(self) -> list[str]:
        """Return the requests that write, without the repository's name."""
        return [
            f"{asked.method} {asked.path.removeprefix(BASE)}"
            for asked in self.requests
            if asked.method != "GET"
        ]

    # -- as GitHub --------------------------------------------------------------------------------

    def answer(self, asked: Asked) -> Answer:
        """Answer a request."""
        self.requests.append(asked)
        path = unquote(asked.path)
        if not path.startswith(BASE):
            return NOT_FOUND
        path = path.removeprefix(BASE)
        for (method, prefix), route in _ROUTES.items():
            if asked.method == method and path.startswith(prefix):
                return route(self, path.removeprefix(prefix), asked)
        return NOT_FOUND if path else json_answer(self._facts())

    def _facts(self) -> dict[str, Any]:
        return {
            "full_name": "octo/tools",
            "private": False,
            "visibility": "public",
            "default_branch": "main",
            "permissions": {"pull": True, "push": True},
            **self.facts,
        }

    def _ref(self, name: str, asked: Asked) -> Answer:
        if not self.git("for-each-ref"):
            return json_answer({"message": "Git Repository is empty."}, 409)
        sha = self.named(f"refs/{name}")
        if sha is None:
            return NOT_FOUND
        return json_answer({"ref": f"refs/{name}", "object": _object(self, sha)})

    def _commit(self, ref: str, asked: Asked) -> Answer:
        sha = self.named(f"{ref}^{{commit}}")
        if sha is None:
            return NOT_FOUND
        tree = self.named(f"{sha}^{{tree}}")
        return json_answer({"sha": sha, "tree": {"sha": tree}, "commit": {"tree": {"sha": tree}}})

    def _tree(self, name: str, asked: Asked) -> Answer:
        sha = self.named(f"{name}^{{tree}}")
        if sha is None:
            return NOT_FOUND
        entries = self.entries(sha, recursive="recursive=1" in asked.query)
        return json_answer({"sha": sha, "tree": entries, "truncated": False})

    def _blob(self, sha: str, asked: Asked) -> Answer:
        data = self.git("cat-file", "blob", sha)
        if "raw" in asked.headers["accept"]:
            return Answer(200, data, {"Content-Type": "application/octet-stream"})
        content = base64.encodebytes(data).decode()
        return json_answer({"sha": sha, "content": content, "encoding": "base64"})

    def _contents(self, path: str, asked: Asked) -> Answer:
        ref = parse_qs(asked.query).get("ref", [self._facts()["default_branch"]])[0]
        if not path:
            return json_answer([_item(self, e) for e in self.entries(ref, recursive=False)])
        found = [e for e in self.entries(ref) if e["path"] == path] if self.named(ref) else []
        if not found:
            return NOT_FOUND
        if found[0]["type"] == "tree":
            inside = self.entries(found[0]["sha"], recursive=False)
            return json_answer([_item(self, {**e, "path": f"{path}/{e['path']}"}) for e in inside])
        return json_answer(_file(self, found[0], ref))

    def _make_blob(self, path: str, asked: Asked) -> Answer:
        return json_answer({"sha": self.blob(base64.b64decode(asked.json()["content"]))}, 201)

    def _make_tree(self, path: str, asked: Asked) -> Answer:
        body, entries = asked.json(), []
        for entry in body["tree"]:
            sha = self.blob(entry["content"].encode()) if "content" in entry else entry["sha"]
            entries.append((entry["mode"], sha, entry["path"]))
        return json_answer({"sha": self.tree(body["base_tree"], entries)}, 201)

    def _make_commit(self, path: str, asked: Asked) -> Answer:
        body = asked.json()
        sha = self.committed(body["tree"], body["message"], body["parents"])
        return json_answer({"sha": sha, "html_url": f"https://github.com/octo/tools/{sha}"}, 201)

    def _make_ref(self, path: str, asked: Asked) -> Answer:
        body = asked.json()
        if self.named(body["ref"]):
            return json_answer({"message": "Reference already exists"}, 422)
        self.git("update-ref", body["ref"], body["sha"])
        return json_answer({"ref": body["ref"], "object": _object(self, body["sha"])}, 201)

    def _move_ref(self, name: str, asked: Asked) -> Answer:
        if self.before_move is not None:
            meanwhile, self.before_move = self.before_move, None
            meanwhile()
        body, now = asked.json(), self.named(f"refs/{name}")
        assert body["force"] is False
        if now != self.word("merge-base", str(now), body["sha"]):
            return json_answer({"message": "Update is not a fast forward"}, 422)
        self.git("update-ref", f"refs/{name}", body["sha"])
        return json_answer({"ref": f"refs/{name}", "object": _object(self, body["sha"])})

    def _delete_ref(self, name: str, asked: Asked) -> Answer:
        self.git("update-ref", "-d", f"refs/{name}")
        return Answer(204)

    def _put_file(self, path: str, asked: Asked) -> Answer:
        body = asked.json()
        return self._changed_file(path, body, base64.b64decode(body["content"]))

    def _delete_file(self, path: str, asked: Asked) -> Answer:
        return self._changed_file(path, asked.json(), None)

    def _changed_file(self, path: str, body: Mapping[str, Any], data: bytes | None) -> Answer:
        branch = body["branch"]
        there = (
            {e["path"]: e for e in self.entries(branch)}.get(path) if self.head(branch) else None
        )
        if there and there["sha"] != body.get("sha"):
            return json_answer({"message": f"{path} does not match {body.get('sha')}"}, 409)
        sha = None if data is None else self.blob(data)
        head = self.head(branch)
        tree = self.tree(head, [(there["mode"] if there else "100644", sha, path)])
        made = self.committed(tree, body["message"], [head] if head else [])
        self.git("update-ref", f"refs/heads/{branch}", made)
        commit = {"sha": made, "html_url": "https://github.com/x", "parents": [{"sha": head}]}
        return json_answer({"content": sha and {"sha": sha}, "commit": commit})


Route = Callable[[Repository, str, Asked], Answer]
_ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/git/ref/"): Repository._ref,
    ("GET", "/git/commits/"): Repository._commit,
    ("GET", "/commits/"): Repository._commit,
    ("GET", "/git/trees/"): Repository._tree,
    ("GET", "/git/blobs/"): Repository._blob,
    ("GET", "/contents/"): Repository._contents,
    ("POST", "/git/blobs"): Repository._make_blob,
    ("POST", "/git/trees"): Repository._make_tree,
    ("POST", "/git/commits"): Repository._make_commit,
    ("POST", "/git/refs"): Repository._make_ref,
    ("PATCH", "/git/refs/"): Repository._move_ref,
    ("DELETE", "/git/refs/"): Repository._delete_ref,
    ("PUT", "/contents/"): Repository._put_file,
    ("DELETE", "/contents/"): Repository._delete_file,
}


def _object(repository: Repository, sha: str) -> dict[str, str]:
    return {"sha": sha, "type": repository.word("cat-file", "-t", sha)}


def _entry(line: str) -> dict[str, Any]:
    facts, path = line.split("\t", 1)
    mode, kind, sha, size = facts.split()
    entry = {"path": path, "mode": mode, "type": kind, "sha": sha}
    return entry if size == "-" else {**entry, "size": int(size)}


def _item(repository: Repository, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of a directory."""
    kinds = {"tree": "dir", "commit": "file"}
    below = "trees" if entry["type"] in ("tree", "commit") else "blobs"
    kind = "symlink" if entry["mode"] == "120000" else kinds.get(entry["type"], "file")
    return {
        "type": kind,
        "name": entry["path"].rpartition("/")[2],
        "path": entry["path"],
        "sha": entry["sha"],
        "size": entry.get("size", 0),
        "url": f"https://api.github.com{BASE}/contents/{entry['path']}",
        "git_url": f"https://api.github.com{BASE}/git/{below}/{entry['sha']}",
        "html_url": f"https://github.com/octo/tools/blob/main/{entry['path']}",
    }


def _file(repository: Repository, entry: Mapping[str, Any], ref: str) -> dict[str, Any]:
    """Return one entry: a link to a file is answered with the file's content and its own SHA."""
    item = _item(repository, entry)
    if entry["type"] == "commit":
        return {**item, "type": "submodule", "submodule_git_url": "https://github.com/octo/lib"}
    data = repository.git("cat-file", "blob", entry["sha"])
    if entry["mode"] == "120000":
        target = repository.named(f"{ref}:{data.decode()}")
        if target is None:
            return {**item, "type": "symlink", "target": data.decode()}
        data = repository.git("cat-file", "blob", target)
        item["type"] = "file"
    if len(data) > 1024 * 1024:  # of larger files GitHub sends no content
        return {**item, "encoding": "none", "content": ""}
    return {**item, "encoding": "base64", "content": base64.encodebytes(data).decode()}


@contextmanager
def repository(folder: Path) -> Iterator[Repository]:
    """Serve an empty repository below a folder."""
    double = Repository(folder / "tools.git")
    subprocess.run(["git", "init", "--quiet", "--bare", str(double.folder)], check=True)
    double.git("symbolic-ref", "HEAD", "refs/heads/main")
    with serving(double.answer) as url:
        double.url = url
        yield double
