"""The SQL guard: decides from values alone whether a text is one statement that only reads.

```
text       limits, libpg_query without a crash, the text of the one statement
walk       every node of the tree against an allow-list; what it uses
functions  which functions may be called      known, builtin   what is known without a server
sizes      what constants alone would make of memory           growth   rules by function
guard      all of it in order: the verdict
facts      what the guard is told about a database; services.postgres.snapshot loads it
```

It is one of three fences. The READ ONLY transaction and the role's rights stand behind it, and each
catches what the others cannot: see docs of PostgreSQL on SET TRANSACTION for how little READ ONLY
forbids.
"""

from services.postgres.policy.facts import CatalogSnapshot, FunctionFact, Risk
from services.postgres.policy.functions import FunctionVerdict
from services.postgres.policy.guard import Explain, Verdict, is_secret_setting, judge
from services.postgres.policy.text import DEFAULT_MAX_SQL_BYTES

__all__ = [
    "DEFAULT_MAX_SQL_BYTES",
    "CatalogSnapshot",
    "Explain",
    "FunctionFact",
    "FunctionVerdict",
    "Risk",
    "Verdict",
    "is_secret_setting",
    "judge",
]
