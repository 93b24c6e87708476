"""Roots as operators write them, deny globs, and roots narrowed to a part."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ToolError
from core.settings import SettingsError
from services.filesystem.policy import Globs
from services.filesystem.roots import Place, Roots
from services.filesystem.settings import DENIED, WRITE_DENIED, FilesystemSettings, Mode, RootSpec


def roots_of(folder: Path, **settings: Any) -> Roots:
    """Return the roots of settings, with a workspace below `folder`."""
    return Roots.of(FilesystemSettings.from_dict(settings), folder / "workspace")


def code(error: pytest.ExceptionInfo[ToolError]) -> str:
    """Return the code of what was raised."""
    return error.value.code


# --- the setting ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("docs=/srv/docs", [RootSpec("docs", "/srv/docs", Mode.READ)]),
        ("docs=/srv/docs:list", [RootSpec("docs", "/srv/docs", Mode.LIST)]),
        (
            " docs = /srv/docs/ : WRITE , work=/srv//work/./x:delete,",
            [
                RootSpec("docs", "/srv/docs", Mode.WRITE),
                RootSpec("work", "/srv/work/x", Mode.DELETE),
            ],
        ),
        ("/srv/Docs:read", [RootSpec("docs", "/srv/Docs", Mode.READ)]),
        ("/srv/a=b", [RootSpec("docs", "/srv/a=b", Mode.READ)]),
        ("x=/srv/a:b/c", [RootSpec("x", "/srv/a:b/c", Mode.READ)]),
        ({"docs": "/srv/docs:write"}, [RootSpec("docs", "/srv/docs", Mode.WRITE)]),
        (
            {"docs": {"path": "/srv/a,b:c", "mode": "write"}},
            [RootSpec("docs", "/srv/a,b:c", Mode.WRITE)],
        ),
        (["docs=/srv/docs"], [RootSpec("docs", "/srv/docs", Mode.READ)]),
        ('{"docs": "/srv/a,b"}', [RootSpec("docs", "/srv/a,b", Mode.READ)]),
        ("all=/", [RootSpec("all", "/", Mode.READ)]),
        ("", []),
    ],
)
def test_roots_are_read_as_operators_write_them(written: Any, read: list[RootSpec]) -> None:
    """Text for the environment, a mapping for files; a path without alias has its folder's name."""
    if written == "/srv/a=b":
        with pytest.raises(SettingsError, match="not an alias"):
            FilesystemSettings.from_dict({"roots": written})
        return
    assert list(FilesystemSettings.from_dict({"roots": written}).roots) == read


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("docs=srv/docs", "has to be absolute"),
        ("docs=", "has to be absolute"),
        ("docs=/a,docs=/b", "two roots are called docs"),
        ("a=/srv,b=/srv/docs", "the root b lies in the root a"),
        ("a=/srv/x,b=/srv/x/../x", "lies in the root"),
        ("Docs=/srv", "not an alias"),
        ("-x=/srv", "not an alias"),
        (f"{'x' * 33}=/srv", "not an alias"),
        ("docs=/srv:append", "'append' is not a mode"),
        ("/srv/My Files", "not an alias"),
        ({"docs": {"path": "/srv", "rights": "all"}}, "not rights"),
        (7, "expected alias=/path:mode"),
    ],
)
def test_roots_that_are_none_are_refused_with_the_reason(written: Any, why: str) -> None:
    """At the start, where the operator is."""
    with pytest.raises(SettingsError, match=why):
        FilesystemSettings.from_dict({"roots": written})


def test_home_is_understood_in_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a path argument ~ is a name like any other."""
    monkeypatch.setenv("HOME", "/home/someone")
    settings = FilesystemSettings.from_dict({"roots": "docs=~/docs"})
    assert settings.roots[0].path == "/home/someone/docs"


def test_roots_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As everything does."""
    monkeypatch.setenv("MCP_FILESYSTEM_ROOTS", "docs=/srv/docs,work=/srv/work:write")
    monkeypatch.setenv("MCP_FILESYSTEM_DENY", "*.secret, private/")
    settings = FilesystemSettings.from_env()
    assert [spec.alias for spec in settings.roots] == ["docs", "work"]
    assert settings.deny == ("*.secret", "private/")


# --- deny globs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("glob", "path", "covered"),
    [
        ("*.pem", "a.pem", True),
        ("*.pem", "x/y/A.PEM", True),
        ("*.pem", "a.pem/below", True),
        ("*.pem", "a.pem.txt", False),
        ("*.pem", ".pem", True),
        ("?.txt", "é.txt", True),
        ("?.txt", "ab.txt", False),
        ("/top", "top", True),
        ("/top", "x/top", False),
        ("a/b", "a/b", True),
        ("a/b", "x/a/b/c", True),
        ("a/b", "xa/b", False),
        ("a/**/z", "a/z", True),
        ("a/**/z", "q/a/b/c/z", True),
        ("**/x", "x", True),
        ("a/**", "a/b", True),
        ("a/**", "a", False),
        ("a*b", "a/b", False),
        ("[ab].txt", "B.txt", True),
        ("[!ab].txt", "c.txt", True),
        ("[!ab].txt", "a.txt", False),
        ("[a-c]x", "bx", True),
        ("[]]x", "]x", True),
        (r"\*x", "*x", True),
        (r"\*x", "ax", False),
        ("private/", "private", True),
        ("Ordner/Größe", "ordner/GRÖSSE", True),
        ("x.y", "xzy", False),
        ("(a|b)+", "(A|B)+", True),
        ("new", "new\nline", False),
        ("new*", "new\nline", True),
    ],
)
def test_globs_cover_paths(glob: str, path: str, covered: bool) -> None:
    """As in .gitignore, with the differences that policy.py tells."""
    assert (Globs([glob]).rule_for(tuple(path.encode().split(b"/"))) == glob) is covered


def test_the_last_glob_decides_but_nothing_below_comes_back() -> None:
    """`!` takes back a name, never what lies in something denied."""
    globs = Globs(["*.log", "!keep.log", "closed", "!closed/open", "keep.log.*"])
    assert globs.rule_for((b"a.log",)) == "*.log"
    assert globs.rule_for((b"keep.log",)) is None
    assert globs.rule_for((b"closed", b"open")) == "closed"
    assert globs.rule_for((b"keep.log.1",)) == "keep.log.*"


@pytest.mark.parametrize("glob", ["[a", "!", "/", "x" * 401])
def test_a_glob_that_is_none_is_refused_at_the_start(tmp_path: Path, glob: str) -> None:
    """A typing error must not leave something open."""
    with pytest.raises(ValueError, match=r"glob"):
        roots_of(tmp_path, deny=[glob])


@given(st.lists(st.binary(min_size=1, max_size=6).map(lambda b: b.replace(b"/", b"x")), max_size=4))
def test_whatever_is_below_something_denied_is_denied(names: list[bytes]) -> None:
    """For any names, also those that are no text."""
    globs = Globs(DENIED)
    for secret in (b".ssh", b".ENV", b"Id_Rsa"):
        assert globs.rule_for((*names, secret)) is not None
        assert globs.rule_for((secret, *names)) is not None


@pytest.mark.parametrize(
    "path",
    [
        "a.env",
        "environment",
        ".environment",
        "keys.txt",
        "monkey",
        ".git/config",
        ".env.example",
        "x/.ENV.Sample",
        ".aws/config",
        "id.rsa",
        ".github/x",
        ".gitignore",
    ],
)
def test_what_is_needed_for_work_is_not_denied(path: str) -> None:
    """The defaults keep secrets, not projects."""
    assert Globs(DENIED).rule_for(tuple(path.encode().split(b"/"))) is None


def test_git_can_be_read_but_not_changed_by_default(tmp_path: Path) -> None:
    """What stands in .git/config is run by git."""
    assert WRITE_DENIED == (".git",)
    (tmp_path / "docs").mkdir()
    roots = roots_of(tmp_path, roots=f"docs={tmp_path}/docs:delete")
    assert roots.place("docs/x/.git/config", Mode.READ).rel == (b"x", b".git", b"config")
    for path in ("docs/x/.git/config", "docs/.GIT", "docs/.git/index"):
        with pytest.raises(ToolError) as refused:
            roots.place(path, Mode.WRITE)
        assert code(refused) == "PATH_DENIED"
    roots.place("docs/.gitignore", Mode.WRITE)


@pytest.mark.parametrize("above", ["", "a", "a/state *?[x]"])
def test_the_servers_own_state_is_denied_in_a_root_around_it(tmp_path: Path, above: str) -> None:
    """The key that seals cursors, and the history of changes, lie beside the workspace."""
    state = tmp_path / "a" / "state *?[x]"
    state.mkdir(parents=True)
    (state / "changes.sqlite").write_text("secret")
    (tmp_path / "a" / "state").mkdir()
    (tmp_path / "a" / "state" / "changes.sqlite").write_text("of somebody else")
    settings = FilesystemSettings.from_dict({"roots": {"all": f"{tmp_path / above}:delete"}})
    roots = Roots.of(settings, state / "workspace")
    path = os.path.relpath(state / "changes.sqlite", tmp_path / above)
    with pytest.raises(ToolError) as refused:
        roots.place(f"all/{path}", Mode.READ)
    assert code(refused) == "PATH_DENIED"
    if not above:
        roots.open_file(roots.place("all/a/state/changes.sqlite", Mode.READ))


def test_further_globs_are_added_to_the_defaults(tmp_path: Path) -> None:
    """`deny` replaces them, `deny_also` does not."""
    (tmp_path / "docs").mkdir()
    given_ = {"roots": f"docs={tmp_path}/docs"}
    for more, denied in (({"deny_also": "private"}, True), ({"deny": "private"}, False)):
        roots = roots_of(tmp_path, **given_, **more)
        entry = roots.entry("docs")
        assert roots.is_denied(entry, (b"private",))
        assert roots.is_denied(entry, (b".env",)) is denied


# --- modes and states -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", list(Mode))
def test_a_mode_allows_what_it_says_and_what_comes_before(tmp_path: Path, mode: Mode) -> None:
    """In this order: list < read < write < delete."""
    (tmp_path / "docs").mkdir()
    roots = roots_of(tmp_path, roots=f"docs={tmp_path}/docs:{mode.word}")
    for needs in Mode:
        if needs <= mode:
            roots.place("docs/x", needs)
            continue
        with pytest.raises(ToolError) as refused:
            roots.place("docs/x", needs)
        assert code(refused) == "ROOT_MODE"
        assert refused.value.facts == {"mode": mode.word, "needs": needs.word}


def test_roots_that_turn_out_to_be_one_directory_are_unavailable(tmp_path: Path) -> None:
    """By links two paths may be one, with two modes."""
    (tmp_path / "a" / "in").mkdir(parents=True)
    (tmp_path / "b").symlink_to("a/in")
    roots = roots_of(tmp_path, roots=f"a={tmp_path}/a:delete,b={tmp_path}/b")
    states = {state.alias: state.problem for state in roots.states()}
    assert states["b"] == "The root b shares directories with the root a."


def test_a_root_that_is_no_directory_is_unavailable(tmp_path: Path) -> None:
    """And says so without its path."""
    (tmp_path / "file").touch()
    roots = roots_of(tmp_path, roots=f"docs={tmp_path}/file")
    with pytest.raises(ToolError) as refused:
        roots.place("docs/x", Mode.READ)
    assert code(refused) == "ROOT_UNAVAILABLE"
    assert str(tmp_path) not in refused.value.message


def test_an_outside_path_is_refused_while_a_root_is_away(tmp_path: Path) -> None:
    """By its text alone; and a path inside says that the root is away."""
    roots = roots_of(tmp_path, roots=f"docs={tmp_path}/docs")
    for path, expected in (("/etc/passwd", "OUTSIDE_ROOT"), ("{}/x", "ROOT_UNAVAILABLE")):
        with pytest.raises(ToolError) as refused:
            roots.place(path.format(tmp_path / "docs"), Mode.READ)
        assert code(refused) == expected


def test_directories_that_are_not_used_any_more_are_closed(tmp_path: Path) -> None:
    """A root that is replaced again and again holds one descriptor."""
    docs = tmp_path / "docs"
    docs.mkdir()
    roots = roots_of(tmp_path, roots=f"docs={docs}")
    roots.entry("docs")
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        docs.rename(tmp_path / f"old{number}")
        docs.mkdir()
        roots.entry("docs")
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_hard_links_are_refused_where_the_operator_says_so(tmp_path: Path) -> None:
    """A file with a second name may be one from outside."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (tmp_path / "outside").write_text("secret")
    os.link(tmp_path / "outside", docs / "inside")
    for policy in ("allow", "refuse"):
        roots = roots_of(tmp_path, roots=f"docs={docs}", hard_links=policy)
        place = roots.place("docs/inside", Mode.READ)
        if policy == "allow":
            os.close(roots.open_file(place))
            continue
        with pytest.raises(ToolError) as refused:
            roots.open_file(place)
        assert code(refused) == "HARD_LINKED"


# --- narrowing ------------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> Roots:
    """Roots docs and work; docs has guide/a.md, other/b.md and links between them."""
    for name in ("docs/guide", "docs/other", "work"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "docs/guide/a.md").write_text("a")
    (tmp_path / "docs/other/b.md").write_text("b")
    (tmp_path / "docs/guide/link.md").symlink_to("../other/b.md")
    return roots_of(tmp_path, roots=f"docs={tmp_path}/docs:write,work={tmp_path}/work:write")


def opened(roots: Roots, path: str) -> Place:
    """Open a file and close it again."""
    place = roots.place(path, Mode.READ)
    os.close(roots.open_file(place))
    return place


def test_narrowed_roots_know_only_their_part(two: Roots) -> None:
    """By text, by what is really opened, and in lists."""
    narrow = two.narrowed({"docs": ((b"guide",),)})
    assert narrow.aliases == ["docs"]
    assert opened(narrow, "docs/guide/a.md").shown == "docs/guide/a.md"
    for path in ("docs/other/b.md", "docs", "docs/guide/../other/b.md", "docs/guide/link.md"):
        with pytest.raises(ToolError) as refused:
            opened(narrow, path)
        assert code(refused) == "OUTSIDE_ROOT", path
    entry = narrow.entry("docs")
    assert narrow.is_denied(entry, (b"other", b"b.md"))
    assert not narrow.is_denied(entry, (b"guide", b"a.md"))


def test_narrowing_to_nothing_leaves_nothing(two: Roots) -> None:
    """A client whose directories are all elsewhere gets none of ours."""
    none = two.narrowed({})
    assert none.aliases == []
    assert none.entries == ()
    with pytest.raises(ToolError) as refused:
        none.place("docs/guide/a.md", Mode.READ)
    assert code(refused) == "OUTSIDE_ROOT"


def test_a_new_name_is_judged_where_it_really_would_be(two: Roots, tmp_path: Path) -> None:
    """A link to a denied directory does not help to write into it."""
    (tmp_path / "docs/.ssh").mkdir()
    (tmp_path / "docs/guide/keys").symlink_to("../.ssh")
    place = two.place("docs/guide/keys/new", Mode.WRITE)
    parent, name = place.entry.root.open_parent(place.rel)
    try:
        with pytest.raises(ToolError) as refused:
            two.check_new(place, parent, name)
    finally:
        os.close(parent)
    assert code(refused) == "PATH_DENIED"
    assert "docs/guide/keys/new" in refused.value.message
