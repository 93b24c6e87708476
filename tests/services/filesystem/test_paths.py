"""Every shape of path, through read_text_file: nothing outside is shown, named or waited for."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.testing import CallResult, Client
from tests.services.filesystem.conftest import client_of
from tests.services.filesystem.path_cases import CANARY, Tree, build, cases

CASES = cases()
LIMIT_S = 5.0


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The tree with everything in it, made once."""
    return build(tmp_path_factory.mktemp("paths"))


@pytest.fixture(scope="module")
async def paths(tree: Tree, anyio_backend: str) -> AsyncIterator[Client]:
    """A client of a server with that tree as its one root."""
    async with client_of(tree.root.parent, roots=f"docs={tree.root}:delete") as client:
        yield client


def told(result: CallResult) -> str:
    """Return the code of an error, or the content of the file."""
    if result.error is not None:
        return str(result.error["code"])
    assert result.structured is not None
    return str(result.structured["content"])


def test_the_table_has_enough_cases() -> None:
    """The number that was asked for, each path once."""
    assert len(CASES) >= 150
    assert len({path for path, _ in CASES}) == len(CASES)


@pytest.mark.parametrize(("path", "expected"), CASES, ids=lambda value: ascii(value)[:60])
async def test_a_path_gives_its_file_or_its_error(
    paths: Client, tree: Tree, path: str, expected: str
) -> None:
    """In time, without the secret, and without the path of anything outside the root."""
    given = path.replace("{root}", str(tree.root)).replace("{secret}", str(tree.secret))
    async with asyncio.timeout(LIMIT_S):
        result = await paths.call("read_text_file", path=given)
    assert told(result) == expected
    assert CANARY not in str(result.raw)
    if result.is_error:
        said = result.text.replace(given.removeprefix("docs/"), "")  # below docs it may be repeated
        for outside in (str(tree.secret), "/etc", "/proc", "/dev/", "docs-evil/"):
            assert outside not in said


async def test_what_exists_outside_is_told_like_what_does_not(paths: Client, tree: Tree) -> None:
    """Nobody can find out what there is beside the roots."""
    errors = []
    for name in ("canary.txt", "dir", "nothing", "dir/nothing"):
        result = await paths.call("read_text_file", path=f"{tree.secret}/{name}")
        errors.append(result.error)
    assert errors[0] is not None
    assert all(error == errors[0] for error in errors)


async def test_links_out_are_told_alike_whether_or_not_they_lead_anywhere(paths: Client) -> None:
    """A planted link is no probe either."""
    messages = set()
    for name in ("out", "dangling_out", "out_dir/canary.txt", "out_dir/nothing"):
        result = await paths.call("read_text_file", path=f"docs/{name}")
        assert result.error is not None
        messages.add(result.error["message"].replace(f"docs/{name}", ""))
    assert messages == {" leads out of its root."}


async def test_shown_paths_lead_back(paths: Client, tree: Tree) -> None:
    """Also where a name is not text: it is shown as a URI, which is a path argument too."""
    uri = f"file://{tree.root}/%FF%FE.txt"
    first = await paths.call("read_text_file", path=uri)
    assert first.structured is not None
    assert first.structured["path"] == uri
    control = await paths.call("read_text_file", path="docs/new\nline")
    assert control.structured is not None
    assert control.structured["path"] == f"file://{tree.root}/new%0Aline"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("docs/a.txt", "in a.txt"),
        ("./docs/a.txt", "in a.txt"),
        ("work/w.txt", "work"),
        ("a.txt", "ROOT_NEEDED"),
        ("dosc/a.txt", "ROOT_NEEDED"),
        ("", "ROOT_NEEDED"),
        (".", "ROOT_NEEDED"),
        ("/", "ROOT_NEEDED"),
        ("../docs/a.txt", "OUTSIDE_ROOT"),
        ("docs/../work/w.txt", "OUTSIDE_ROOT"),
        ("docs/parent/work/w.txt", "OUTSIDE_ROOT"),
        ("{root}/../work/w.txt", "work"),
        ("work", "NOT_A_FILE"),
        ("DOCS/a.txt", "ROOT_NEEDED"),
    ],
)
async def test_with_several_roots_a_path_begins_with_one(
    tree: Tree, path: str, expected: str
) -> None:
    """An alias, or the root's own path; the error lists what there is."""
    folder = tree.root.parent
    (folder / "work").mkdir(exist_ok=True)
    (folder / "work" / "w.txt").write_text("work")
    roots = f"docs={tree.root},work={folder / 'work'}"
    async with client_of(folder, roots=roots) as client:
        result = await client.call("read_text_file", path=path.replace("{root}", str(tree.root)))
    assert told(result) == expected
    if expected == "ROOT_NEEDED":
        assert result.error is not None
        assert result.error["roots"] == ["docs", "work"]


async def test_a_root_is_known_by_the_link_that_the_operator_wrote_and_by_its_real_path(
    tmp_path: Path,
) -> None:
    """Clients know the one or the other."""
    real = tmp_path / "real"
    real.mkdir()
    (real / "a.txt").write_text("here")
    (tmp_path / "link").symlink_to("real")
    async with client_of(tmp_path, roots=f"docs={tmp_path}/link") as client:
        for path in (f"{tmp_path}/link/a.txt", f"{real}/a.txt", "a.txt"):
            result = await client.call("read_text_file", path=path)
            assert told(result) == "here"
            assert result.structured is not None
            assert result.structured["path"] == "docs/a.txt"


async def test_what_is_swapped_while_it_is_read_leads_nowhere_else(
    tree: Tree, paths: Client
) -> None:
    """A link to a directory inside and one to the secret take turns under one name."""
    stop = threading.Event()

    def swap() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            made = tree.root / f".turn{turn % 2}"
            made.unlink(missing_ok=True)
            made.symlink_to(("../secret", "dir/sub")[turn % 2])
            os.rename(made, tree.root / "turning")

    (tree.root / "dir/sub/canary.txt").write_text("harmless")
    thread = threading.Thread(target=swap)
    thread.start()
    seen: Counter[str] = Counter()
    try:
        while seen.total() < 2_000 and len(seen) < 3:
            seen[told(await paths.call("read_text_file", path="docs/turning/canary.txt"))] += 1
        for _ in range(500):
            seen[told(await paths.call("read_text_file", path="docs/turning/canary.txt"))] += 1
    finally:
        stop.set()
        thread.join()
    assert seen["harmless"]
    assert set(seen) <= {"harmless", "OUTSIDE_ROOT", "FILE_NOT_FOUND", "FILE_BUSY"}
