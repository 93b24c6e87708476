"""What the unrestricted mode adds to the guard: which single statements may write, once confirmed.

Several statements, transaction control, COPY, DO, CALL, SET, roles, databases and extensions stay
refused, and so does every function that the guard refuses for more than being volatile, and every
relation that holds credentials.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from services.postgres.errors import SqlRefused
from services.postgres.policy import Verdict
from services.postgres.policy.known import CREDENTIAL_RELATIONS, FUNCTION_REFUSED, refused_group
from services.postgres.policy.text import parse
from services.postgres.policy.walk import NOT_READ_ONLY

# Statements of libpg_query that run inside a transaction, so that a dry run can be rolled back.
WRITING_STATEMENTS: dict[str, str] = {
    "InsertStmt": "INSERT",
    "UpdateStmt": "UPDATE",
    "DeleteStmt": "DELETE",
    "MergeStmt": "MERGE",
    "SelectStmt": "SELECT",
    "TruncateStmt": "TRUNCATE",
    "CreateStmt": "CREATE TABLE",
    "CreateTableAsStmt": "CREATE TABLE AS",
    "ViewStmt": "CREATE VIEW",
    "IndexStmt": "CREATE INDEX",
    "AlterTableStmt": "ALTER TABLE",
    "RenameStmt": "ALTER … RENAME",
    "DropStmt": "DROP",
    "CommentStmt": "COMMENT",
    "CreateSchemaStmt": "CREATE SCHEMA",
    "CreateSeqStmt": "CREATE SEQUENCE",
    "AlterSeqStmt": "ALTER SEQUENCE",
    "CreateEnumStmt": "CREATE TYPE",
    "CompositeTypeStmt": "CREATE TYPE",
    "CreateDomainStmt": "CREATE DOMAIN",
    "AlterDomainStmt": "ALTER DOMAIN",
    "RefreshMatViewStmt": "REFRESH MATERIALIZED VIEW",
    "CreateStatsStmt": "CREATE STATISTICS",
    "AlterObjectSchemaStmt": "ALTER … SET SCHEMA",
    "CreatePolicyStmt": "CREATE POLICY",
    "AlterPolicyStmt": "ALTER POLICY",
    "CreateTrigStmt": "CREATE TRIGGER",
}
SEQUENCE_FUNCTIONS = frozenset({"nextval", "setval"})
"""Refused to readers because they write, which is what this mode is for."""
_SECRETS = {name: what for (_, name), what in CREDENTIAL_RELATIONS.items()}
_JUDGED_CODES = (NOT_READ_ONLY, FUNCTION_REFUSED)


def writing_kind(verdict: Verdict) -> str | None:
    """Return what a refused statement writes, such as `UPDATE`; None where it stays refused."""
    if verdict.code not in _JUDGED_CODES or not verdict.statement:
        return None
    kind, node = next(iter(parse(verdict.statement)[0]["stmt"].items()))
    return None if _closed_part(node) is not None else WRITING_STATEMENTS.get(kind)


def _closed_part(root: Any) -> tuple[str, str] | None:
    """Return why a statement stays closed and what would help, for the first part that is."""
    for node in _nodes(root):
        call = node.get("FuncCall")
        name = call["funcname"][-1]["String"].get("sval", "") if isinstance(call, dict) else ""
        group = refused_group(name)
        if group is not None and name not in SEQUENCE_FUNCTIONS:
            return f"{name}() {group.reason}.", group.suggestion
        secret = _SECRETS.get(str(node.get("relname")))
        if secret is not None:
            return f"{node['relname']} {secret[0]}.", secret[1]
    return None


def _nodes(root: Any) -> Iterator[dict[str, Any]]:
    """Yield each node of a parse tree."""
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, dict):
            yield node
            stack.extend(node.values())


@dataclass(frozen=True, slots=True)
class Ticket:
    """A statement exactly as it would be committed."""

    sql: str
    params: Sequence[Any]
    database: str | None
    principal: str

    def digest(self) -> bytes:
        """Return what a token is bound to."""
        parts = [self.sql, list(self.params), self.database, self.principal]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()


def stays_refused(verdict: Verdict, refused: SqlRefused) -> SqlRefused:
    """Return a refusal whose words are true of a server that writes, too."""
    closed = None
    if verdict.code in _JUDGED_CODES and verdict.statement:
        closed = _closed_part(parse(verdict.statement)[0]["stmt"])
    if closed is not None:
        refused.message, refused.hint = closed
    elif verdict.code in _JUDGED_CODES:
        kinds = ", ".join(dict.fromkeys(WRITING_STATEMENTS.values()))
        refused.hint = f"Besides reading, this server runs one of: {kinds}."
    return refused
