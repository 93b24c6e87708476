"""What all tests share: the asyncio backend, and how a missing real thing is treated."""

from __future__ import annotations

import inspect
import os
from typing import Any

import pytest
from hypothesis import settings

REQUIRES_ALL = os.environ.get("MCP_TEST_REQUIRE") == "all"
# Where a failure stops a landing, the same code has to give the same result; at a desk, each run
# tries other values.
settings.register_profile("steady", derandomize=True, deadline=None)
if REQUIRES_ALL:
    settings.load_profile("steady")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run coroutine tests on asyncio, the loop the servers use."""
    return "asyncio"


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str, obj: Any) -> None:
    """Run every `async def` test without marking each.

    The mark has to be there before the test is collected: anyio makes the item anew for one that
    comes later, and its parameters are lost.
    """
    if collector.istestfunction(obj, name):
        function = obj.hypothesis.inner_test if hasattr(obj, "hypothesis") else obj
        if inspect.iscoroutinefunction(function):
            pytest.mark.anyio(obj)


def missing(part: str, how: str) -> None:
    """Skip because a real thing is not here, or fail where everything is required.

    Args:
        part: What is missing.
        how: What installs it.
    """
    reason = f"{part} is missing; {how}"
    if REQUIRES_ALL:
        pytest.fail(reason)
    pytest.skip(reason)
