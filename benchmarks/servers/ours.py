"""The tool in this suite, run as every service runs: `server.run()`, settings from the environment.

`python -m benchmarks.servers.ours`
"""

from __future__ import annotations

from core import InputModel, MCPServer, OutputModel


class Add(InputModel):
    """Two numbers."""

    a: int
    b: int


class Sum(OutputModel):
    """Their sum and what it was made of."""

    total: int
    inputs: list[int]


async def add(arguments: Add) -> Sum:
    """Add two numbers."""
    return Sum(total=arguments.a + arguments.b, inputs=[arguments.a, arguments.b])


def main() -> None:
    """Serve until SIGTERM."""
    server = MCPServer("benchmark", version="1.0.0")
    server.register_tool(
        name="add",
        handler=add,
        input_schema=Add,
        output_schema=Sum,
        description="Add two numbers.",
    )
    server.run()


if __name__ == "__main__":
    main()
