"""The only part of the service that talks to GitHub.

```
requests.py     Request, Reply, Rate, Download: what callers write and get
client.py       Client: send, graphql, download; repeats, redirects
credentials.py  whom GitHub is asked as
prepared.py     a request made ready: which URL exactly
transport.py    one request in a thread, within its time
limits.py cache.py health.py    what earlier answers said: quotas, contents, how it went
failures.py parsing.py          answers as errors and as data
exchange.py connections.py      over a connection that can be ended from outside
```
"""

from services.github.backend.client import Client
from services.github.backend.requests import DIFF, JSON, RAW, Download, Rate, Reply, Request

__all__ = ["DIFF", "JSON", "RAW", "Client", "Download", "Rate", "Reply", "Request"]
