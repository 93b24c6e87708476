"""The only part of the service that touches PostgreSQL.

```
registry.py     Backend: which server and database a call means, health, the end
pool.py         Pool, Session: connections to one database, one transaction for each call
connect.py      how a connection is made and reset
failures.py     asyncpg's errors as ours
statements.py   the caller's statements: describe, wrap, run, explain
catalog.py statistics.py checks.py      our own queries, as functions of a session
```
"""

from services.postgres.backend.pool import Pool, Row, Session, role_sql
from services.postgres.backend.registry import Backend

__all__ = ["Backend", "Pool", "Row", "Session", "role_sql"]
