"""The doubles see what is wrong: a gate that lets everything pass would be none."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.services.github.doubles.graphql import Graphql, answering
from tests.services.github.doubles.prism import Prism
from tests.services.github.doubles.recordings import Recordings

AUTHORISED = {"Authorization": "Bearer of the test"}


def ask(method: str, url: str, **more: Any) -> httpx.Response:
    """Send one request, past any proxy of the environment."""
    return httpx.request(method, url, trust_env=False, **more)


RIGHT = [
    ("GET", "/repos/octocat/hello/contents/docs/guide.md?ref=main", None, "repos/get-content"),
    ("GET", "/repos/octocat/hello/contents/", None, "repos/get-content"),
    ("GET", "/repos/o/r/commits/feature/x/status", None, "repos/get-combined-status-for-ref"),
    ("GET", "/repos/o/r/compare/main...feature/x", None, "repos/compare-commits-with-basehead"),
    ("DELETE", "/repos/o/r/git/refs/heads/feature/x", None, "git/delete-ref"),
    ("PATCH", "/repos/o/r/issues/1", {"title": "x"}, "issues/update"),
]


@pytest.mark.parametrize(("method", "target", "body", "operation"), RIGHT)
def test_requests_of_the_description_are_recognised(
    prism: Prism, method: str, target: str, body: Any, operation: str
) -> None:
    """GitHub takes slashes in paths and refs, though OpenAPI 3.0 cannot say so."""
    assert ask(method, prism.url + target, json=body).status_code < 300
    assert prism.operations == [operation]


WRONG = [
    ("GET", "/repos/o/r/nonsense/1", None, "no such operation"),
    ("PUT", "/repos/o/r/issues/1", {}, "no such operation"),
    ("GET", "/repos/o/r/issues?state=ajar", None, "state must be equal to one of"),
    ("GET", "/repos/o/r/issues?stat=open", None, "query parameter 'stat' is unknown"),
    ("GET", "/repos/o/r/issues/first", None, "issue_number must be integer"),
    ("POST", "/repos/o/r/issues", {}, "must have required property 'title'"),
    ("PATCH", "/repos/o/r/issues/1", {"titel": "x"}, "body member 'titel' is unknown"),
    ("POST", "/repos/o/r/git/blobs", {"content": 1}, "content must be string"),
]


@pytest.mark.parametrize(("method", "target", "body", "said"), WRONG)
def test_a_request_that_github_does_not_describe_is_a_violation(
    prism_unjudged: Prism, method: str, target: str, body: Any, said: str
) -> None:
    """Prism judges values, our proxy what Prism lets pass: unknown parameters and members."""
    ask(method, prism_unjudged.url + target, json=body)
    assert any(said in violation for violation in prism_unjudged.violations)


def test_a_download_that_carries_the_token_is_a_violation(prism_unjudged: Prism) -> None:
    """GitHub's logs lie on hosts of others, whom the token is no business of."""
    logs = prism_unjudged.url + "/repos/o/r/actions/jobs/1/logs"
    location = ask("GET", logs, headers=AUTHORISED).headers["Location"]
    assert ask("GET", location).status_code == 200
    assert prism_unjudged.violations == []
    ask("GET", location, headers=AUTHORISED)
    assert "the token went along to storage" in prism_unjudged.violations[0]


QUERY = """query($owner: String!) {
  repository(owner: $owner, name: "r") {
    n: name
    object(expression: "HEAD") { ... on Commit { oid } }
  }
}"""


def test_graphql_answers_have_the_shape_of_the_query(graphql_double: Graphql) -> None:
    """They are made by executing the query on the data: aliases and fragments included."""
    commit = {"__typename": "Commit", "oid": "c0ffee", "message": "not asked for"}
    graphql_double.data = {"repository": {"name": "r", "object": commit}}
    body = {"query": QUERY, "variables": {"owner": "o"}}
    answer = ask("POST", graphql_double.url + "/graphql", json=body, headers=AUTHORISED)
    assert answer.json() == {"data": {"repository": {"n": "r", "object": {"oid": "c0ffee"}}}}


@pytest.mark.parametrize(
    ("query", "variables", "said"),
    [
        ("{ repository { name } }", {}, 'argument "owner" of type "String!" is required'),
        ("{ viewr { login } }", {}, 'Cannot query field "viewr"'),
        (QUERY, {"owner": 1}, "String cannot represent a non string value"),
        (QUERY, {"owner": "o", "more": 1}, 'Variable "$more" is not declared'),
        ("{ viewer { login } }", {}, "Cannot return null for non-nullable field"),
        ("{", {}, "Syntax Error"),
    ],
)
def test_a_query_that_does_not_fit_the_schema_is_a_violation(
    graphql_checker: str, query: str, variables: dict[str, Any], said: str
) -> None:
    """So are variables of the wrong type, and data of a test that leaves out what must be there."""
    with answering(graphql_checker) as double:
        body = {"query": query, "variables": variables}
        ask("POST", double.url + "/graphql", json=body, headers=AUTHORISED)
        assert said in double.violations[0]


def test_recordings_are_played_in_their_order(fixtures_server: Recordings) -> None:
    """A renamed repository answers 301 after it was renamed, as it did for the recording."""
    api = fixtures_server.play("rename-repository")
    repository = api + "/repos/octokit-fixture-org/rename-repository"
    assert ask("GET", repository).status_code == 404
    assert ask("PATCH", repository, json={"name": "rename-repository-newname"}).status_code == 200
    moved = ask("GET", repository)
    assert moved.status_code == 301
    assert moved.headers["Location"] == api + "/repositories/1000"
    assert ask("GET", moved.headers["Location"]).json()["name"] == "rename-repository-newname"


def test_recordings_let_clients_ask_in_their_own_way(fixtures_server: Recordings) -> None:
    """Headers, the facts of the repository and parameters beyond the recorded ones are free."""
    repository = (
        fixtures_server.play("paginate-issues") + "/repos/octokit-fixture-org/paginate-issues"
    )
    first = ask("GET", repository + "/issues?per_page=3&page=1&state=open")
    assert 'rel="next"' in first.headers["Link"]
    assert ask("GET", repository).json()["full_name"] == "octokit-fixture-org/paginate-issues"
    second = ask("GET", repository + "/issues?per_page=3&page=2&state=open")
    assert second.json()[0]["number"] < first.json()[0]["number"]
