"""The handler that FastAPI and Pydantic alone give: one model in, one model out, nothing else.

`python benchmarks/servers/bare_fastapi.py PORT`. It writes no log line, which is its best case.
"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Add(BaseModel):
    """Two numbers."""

    a: int
    b: int


class Sum(BaseModel):
    """Their sum and what it was made of."""

    total: int
    inputs: list[int]


app = FastAPI()


@app.post("/add", response_model=Sum)
async def add(arguments: Add) -> Sum:
    """Add two numbers."""
    return Sum(total=arguments.a + arguments.b, inputs=[arguments.a, arguments.b])


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False)
