"""What all tests share: the asyncio backend, and how a missing real thing is treated."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run coroutine tests on asyncio, the loop the servers use."""
    return "asyncio"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run every `async def` test without marking each."""
    for item in items:
        if isinstance(item, pytest.Function) and _is_async(item):
            item.add_marker(pytest.mark.anyio)


def _is_async(item: pytest.Function) -> bool:
    import inspect

    function = inspect.unwrap(getattr(item.obj, "hypothesis", item.obj))
    return inspect.iscoroutinefunction(getattr(function, "inner_test", function))


def missing(part: str, how: str) -> None:
    """Skip because a real thing is not here, or fail where everything is required.

    Args:
        part: What is missing.
        how: What installs it.
    """
    reason = f"{part} is missing; {how}"
    if os.environ.get("MCP_TEST_REQUIRE") == "all":
        pytest.fail(reason)
    pytest.skip(reason)
