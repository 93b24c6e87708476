"""How one endpoint tells the revisions apart: §3, row by row, and §4."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.protocol.revisions import META_VERSION, MODERN, SUPPORTED
from tests.wire.harness import BOTH, JSON, LEGACY, Answer, Wire

CLAIM = {"_meta": {META_VERSION: MODERN}}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
NOTE = {"jsonrpc": "2.0", "method": "notifications/initialized"}
RESPONSE = {"jsonrpc": "2.0", "id": "s1", "result": {}}


async def post(wire: Wire, message: Any, version: str | None = None, **headers: str) -> Answer:
    """Post a message without a session."""
    given = {"accept": BOTH, **headers}
    if version is not None:
        given["mcp-protocol-version"] = version
    return await wire.ask("POST", "/mcp", json_=message, headers=given)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("version", [None, *LEGACY])
async def test_get_and_delete_belong_to_the_older_revisions(
    wire: Wire, method: str, version: str | None
) -> None:
    """Row 1: without a session they miss one, which is 400 and not 405."""
    headers = {"accept": BOTH} | ({"mcp-protocol-version": version} if version else {})
    answer = await wire.ask(method, "/mcp", headers=headers)
    assert answer.status == 400
    assert answer.error["code"] == -32600


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("version", [MODERN, "2099-01-01", "", "x"])
async def test_get_and_delete_with_another_version_are_not_allowed(
    wire: Wire, method: str, version: str
) -> None:
    """Row 2: 405 and `Allow: POST`, also for a session that exists (2026-07-28, transports)."""
    session = await wire.session()
    headers = session.headers() | {"mcp-protocol-version": version}
    answer = await wire.ask(method, "/mcp", headers=headers)
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("body", [b"{", b"nope", b'{"a":1}x', b"\xff\xfe", b""])
async def test_post_that_is_not_json_is_a_parse_error(wire: Wire, body: bytes) -> None:
    """Row 3: 400, -32700, id null."""
    headers = {"accept": BOTH, "content-type": "application/json"}
    answer = await wire.ask("POST", "/mcp", body=body, headers=headers)
    assert answer.status == 400
    assert answer.json["error"]["code"] == -32700
    assert answer.json["id"] is None


@pytest.mark.parametrize(
    ("batch", "version"),
    [
        ([], None),
        ([], "2025-03-26"),
        ([PING], MODERN),
        ([PING], "2099-01-01"),
        ([{**PING, "params": CLAIM}], None),
        ([PING, {**PING, "params": CLAIM}], "2025-03-26"),
    ],
)
async def test_batch_outside_2025_03_26_is_refused(
    wire: Wire, batch: list[Any], version: str | None
) -> None:
    """Row 4: 400, -32600."""
    answer = await post(wire, batch, version)
    assert answer.status == 400
    assert answer.error["code"] == -32600


@pytest.mark.parametrize(
    "message",
    ["text", 7, True, None, {}, {"method": "ping", "id": 1}, {"jsonrpc": "1.0", "method": "ping"}],
)
async def test_post_that_is_no_message_is_refused(wire: Wire, message: Any) -> None:
    """Row 6: not an object, or another `jsonrpc`: 400, -32600."""
    answer = await wire.ask(
        "POST", "/mcp", body=json.dumps(message).encode(), headers={"accept": BOTH}
    )
    assert answer.status == 400
    assert answer.error["code"] == -32600


@pytest.mark.parametrize("id_", [None, True, 1.5, {}, [], 1e3])
@pytest.mark.parametrize("version", [None, "2025-06-18", MODERN])
async def test_id_that_is_neither_string_nor_integer_is_refused(
    wire: Wire, id_: Any, version: str | None
) -> None:
    """§3: a present id that is null, boolean, a fraction or a container is -32600."""
    answer = await post(wire, {**PING, "id": id_}, version)
    assert answer.status == 400
    assert answer.error["code"] == -32600
    assert answer.json["id"] is None


@pytest.mark.parametrize("version", [None, *LEGACY, MODERN, "2099-01-01"])
async def test_initialize_is_legacy_whatever_the_header_says(
    wire: Wire, version: str | None
) -> None:
    """Row 7: lenient, because a refused handshake helps nobody."""
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {}}
    answer = await post(wire, {**PING, "method": "initialize", "params": params}, version)
    assert answer.status == 200
    assert answer.result["protocolVersion"] == "2025-06-18"


async def test_initialize_with_a_claim_is_an_unknown_modern_method(wire: Wire) -> None:
    """§3: a claim makes it an ordinary modern request, so 404, -32601."""
    answer = await wire.ask_modern("initialize", {"protocolVersion": MODERN})
    assert answer.status == 404
    assert answer.error["code"] == -32601


@pytest.mark.parametrize("version", [None, *LEGACY])
async def test_claim_under_a_legacy_header_is_a_mismatch(wire: Wire, version: str | None) -> None:
    """Row 8: the body decides; the header that contradicts it is -32020, never legacy handling."""
    answer = await wire.ask_modern("tools/list", headers={"mcp-protocol-version": version})
    assert answer.status == 400
    assert answer.error["code"] == -32020
    assert answer.response["id"] == 1


@pytest.mark.parametrize("version", [MODERN, "2099-01-01"])
async def test_modern_header_without_a_claim_lacks_its_meta(wire: Wire, version: str) -> None:
    """Row 9: the modern ladder begins at `_meta`: 400, -32602, and the id is echoed."""
    answer = await post(wire, {**PING, "id": "q-7", "method": "tools/list"}, version)
    assert answer.status == 400
    assert answer.error["code"] == -32602
    assert answer.response["id"] == "q-7"


@pytest.mark.parametrize("version", [None, *LEGACY])
async def test_request_without_claim_is_session_traffic(wire: Wire, version: str | None) -> None:
    """Row 10: it needs a session, and works in one."""
    answer = await post(wire, PING, version)
    assert answer.status == 400
    session = await wire.session()
    headers = {"mcp-session-id": session.id}
    assert (await post(wire, PING, version, **headers)).result == {}


@pytest.mark.parametrize(
    ("message", "version"),
    [(NOTE, MODERN), ({**NOTE, "params": CLAIM}, None), ({**NOTE, "params": CLAIM}, MODERN)],
)
async def test_modern_notification_is_accepted_and_dropped(
    wire: Wire, message: JSON, version: str | None
) -> None:
    """Row 11: 202, because no client notification of that revision means anything over HTTP."""
    answer = await post(wire, message, version)
    assert answer.status == 202
    assert answer.body == b""


async def test_notification_of_an_unknown_revision_is_refused(wire: Wire) -> None:
    """Row 12: 400, -32022 with both data members."""
    answer = await post(wire, NOTE, "2099-01-01")
    assert answer.status == 400
    assert answer.error["code"] == -32022
    assert answer.error["data"] == {"supported": list(SUPPORTED), "requested": "2099-01-01"}


@pytest.mark.parametrize("message", [NOTE, RESPONSE])
@pytest.mark.parametrize("version", [None, *LEGACY])
async def test_legacy_notification_and_response_go_to_the_session(
    wire: Wire, message: JSON, version: str | None
) -> None:
    """Row 13: 202 with an empty body."""
    session = await wire.session()
    answer = await post(wire, message, version, **{"mcp-session-id": session.id})
    assert answer.status == 202
    assert answer.body == b""
    assert (await post(wire, message, version)).status == 400


async def test_response_posted_under_a_modern_header_is_refused(wire: Wire) -> None:
    """Row 14: clients post no responses in 2026-07-28: 400, -32600."""
    answer = await post(wire, RESPONSE, MODERN)
    assert answer.status == 400
    assert answer.error["code"] == -32600


# --- §4 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requested", "settled"),
    [
        *[(version, version) for version in LEGACY],
        (MODERN, "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
        (None, "2025-11-25"),
        (7, "2025-11-25"),
    ],
)
async def test_initialize_answers_the_requested_legacy_revision_or_the_newest(
    wire: Wire, requested: Any, settled: str
) -> None:
    """§4: and never 2026-07-28, which has no handshake."""
    params = {"protocolVersion": requested, "capabilities": {}, "clientInfo": {}}
    answer = await post(wire, {**PING, "method": "initialize", "params": params})
    assert answer.result["protocolVersion"] == settled
    assert "ttlMs" not in answer.result
    assert "resultType" not in answer.result


async def test_unknown_version_header_in_a_session_is_refused(wire: Wire) -> None:
    """§4: 400 for a header value that no revision has."""
    session = await wire.session()
    answer = await post(wire, PING, "2099-01-01", **{"mcp-session-id": session.id})
    assert answer.status == 400


async def test_session_keeps_its_negotiated_revision(wire: Wire) -> None:
    """§4: a later header that names another legacy revision changes nothing."""
    session = await wire.session("2025-03-26")
    message = {**PING, "method": "tools/call", "params": {"name": "numbers"}}
    answer = await post(wire, message, "2025-11-25", **{"mcp-session-id": session.id})
    assert "structuredContent" not in answer.result


async def test_unsupported_modern_version_names_the_supported_ones(wire: Wire) -> None:
    """§4: 400, -32022; `supported` is what `server/discover` says."""
    answer = await wire.ask_modern(
        "tools/list",
        meta={META_VERSION: "2027-01-01"},
        headers={"mcp-protocol-version": "2027-01-01"},
    )
    assert answer.status == 400
    assert answer.error["code"] == -32022
    discovered = await wire.ask_modern("server/discover")
    assert answer.error["data"] == {
        "supported": discovered.result["supportedVersions"],
        "requested": "2027-01-01",
    }


async def test_disagreement_is_told_before_lack_of_support(wire: Wire) -> None:
    """§4: header and body differ and neither is served: -32020 comes first."""
    answer = await wire.ask_modern("tools/list", meta={META_VERSION: "2027-01-01"})
    assert answer.status == 400
    assert answer.error["code"] == -32020


async def test_legacy_version_in_meta_is_unsupported_that_way(wire: Wire) -> None:
    """§4: a claim of a legacy revision is not served without a handshake."""
    answer = await wire.ask_modern(
        "tools/list",
        meta={META_VERSION: "2025-06-18"},
        headers={"mcp-protocol-version": "2025-06-18"},
    )
    assert answer.status == 400
    assert answer.error["code"] == -32022
