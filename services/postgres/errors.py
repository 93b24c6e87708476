"""What can go wrong between a caller and PostgreSQL.

```
ToolError
├── NotAllowed
│   ├── SqlRefused            the guard said no; facts: reason_code, position, suggestion
│   ├── PermissionDenied      PostgreSQL said no to the role (SQLSTATE 42501)
│   ├── SuperuserRefused      the service may not work as a superuser
│   └── StatsPermission       the role may not see other roles' statistics
├── InvalidArguments
│   ├── SqlSyntaxError · ParameterError · InvalidTableName · AmbiguousTable
├── NotFound
│   ├── UnknownDatabase · UndefinedTable · UndefinedColumn · UndefinedFunction
├── SqlError                  every other error of PostgreSQL; fact: sqlstate
│   └── ReadOnlyViolation     PostgreSQL found the statement not read-only (25006)
├── StatementTimeout          (TimeLimitExceeded) · LockTimeout (Busy) · PoolBusy (Busy)
└── DependencyUnavailable
    ├── DatabaseUnavailable   cannot connect, or the connection broke
    │   └── DatabaseNotConfigured
    └── ExtensionNotInstalled · ExtensionNotPreloaded
```

No message holds a password, an address, a DSN or the value of a parameter.
"""

from __future__ import annotations

from core.errors import (
    Busy,
    DependencyUnavailable,
    InvalidArguments,
    NotAllowed,
    NotFound,
    TimeLimitExceeded,
    ToolError,
)


class SqlRefused(NotAllowed):
    """The guard does not let the statement through."""

    code = "SQL_REFUSED"
    default_hint = "Send one reading statement: SELECT, WITH, VALUES, TABLE, SHOW or EXPLAIN."


class PermissionDenied(NotAllowed):
    """The role lacks a privilege."""

    code = "PERMISSION_DENIED"
    default_hint = (
        "The operator can GRANT the privilege to the role; server_status shows its posture."
    )


class SuperuserRefused(NotAllowed):
    """The configured role is a superuser, for whom no restriction of PostgreSQL holds."""

    code = "SUPERUSER_REFUSED"


class StatsPermission(NotAllowed):
    """The role cannot see the statements of other roles."""

    code = "STATS_PERMISSION"


class SqlSyntaxError(InvalidArguments):
    """The statement does not parse."""

    code = "SQL_SYNTAX_ERROR"
    default_hint = "Correct the statement at the position (in characters, from 1)."


class ParameterError(InvalidArguments):
    """The parameters do not fit the statement's placeholders."""

    code = "PARAMETER_ERROR"
    default_hint = "Give one JSON value for each of $1, $2, …; dates and numbers may be strings."


class InvalidTableName(InvalidArguments):
    """Not the name of a table."""

    code = "INVALID_TABLE_NAME"
    default_hint = 'Write t, schema.t or "Quoted"."Name".'


class AmbiguousTable(InvalidArguments):
    """Several schemas have a table of that name."""

    code = "AMBIGUOUS_TABLE"
    default_hint = "Name the schema too."


class UnknownDatabase(NotFound):
    """No database or configured server of that name."""

    code = "UNKNOWN_DATABASE"
    default_hint = "list_databases shows the databases."


class UndefinedTable(NotFound):
    """No table, view or other relation of that name is visible."""

    code = "UNDEFINED_TABLE"
    default_hint = "list_tables and schema_search show what exists."


class UndefinedColumn(NotFound):
    """No column of that name."""

    code = "UNDEFINED_COLUMN"
    default_hint = "table_info shows the columns."


class UndefinedFunction(NotFound):
    """No function or operator of that name takes these argument types."""

    code = "UNDEFINED_FUNCTION"
    default_hint = "Check the name and cast the arguments to the types it takes."


class SqlError(ToolError):
    """PostgreSQL answered with an error."""

    code = "SQL_ERROR"
    default_hint = "Correct what PostgreSQL's message names; sqlstate tells the kind of error."


class ReadOnlyViolation(SqlError):
    """The statement tried to write inside the read-only transaction."""

    code = "READ_ONLY_VIOLATION"
    default_hint = "This service only reads."


class StatementTimeout(TimeLimitExceeded):
    """The statement ran longer than its time limit and was cancelled in the server."""

    code = "STATEMENT_TIMEOUT"
    default_hint = (
        "Narrow the statement, look at explain_query, or raise timeout_ms up to the limit that "
        "server_status shows."
    )


class LockTimeout(Busy):
    """Another session holds a lock that the statement needs."""

    code = "LOCK_TIMEOUT"
    default_hint = "activity with view=blocking shows who holds the lock."


class PoolBusy(Busy):
    """All connections to the database are in use."""

    code = "POOL_BUSY"


class DatabaseUnavailable(DependencyUnavailable):
    """The database cannot be reached, or broke the connection."""

    code = "DATABASE_UNAVAILABLE"
    default_hint = "The service reconnects by itself; try again in a few seconds."


class DatabaseNotConfigured(DatabaseUnavailable):
    """No database was configured."""

    code = "DATABASE_NOT_CONFIGURED"
    default_retryable = False
    default_hint = "The operator sets DATABASE_URL (or MCP_POSTGRES_URL) and restarts the service."


class ExtensionNotInstalled(DependencyUnavailable):
    """An extension that the tool reads does not exist in this database."""

    code = "EXTENSION_NOT_INSTALLED"
    default_retryable = False


class ExtensionNotPreloaded(DependencyUnavailable):
    """An extension exists but its library was not loaded when PostgreSQL started."""

    code = "EXTENSION_NOT_PRELOADED"
    default_retryable = False
