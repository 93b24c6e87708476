"""A tool server with one tool.

```
python -m examples.first_server      serves on http://127.0.0.1:8000 until Ctrl+C
```
"""

from __future__ import annotations

import asyncio

from pydantic import Field

from core import InputModel, MCPServer, OutputModel, Settings


class CountWords(InputModel):
    """The arguments: strict, and unknown ones are refused."""

    text: str = Field(description="The text to count in.", max_length=100_000)


class WordCount(OutputModel):
    """The result; its JSON Schema is the tool's output schema."""

    words: int = Field(description="Runs of letters, digits and signs between blanks.")
    longest: str = Field(description="The longest of them; empty when there is none.")


def create_server(settings: Settings | None = None) -> MCPServer:
    """Return the server."""
    server = MCPServer("words", version="1.0.0", title="Words", settings=settings)

    @server.tool()
    async def count_words(arguments: CountWords) -> WordCount:
        """Count the words of a text and name the longest one."""
        words = arguments.text.split()
        return WordCount(words=len(words), longest=max(words, key=len, default=""))

    return server


async def main() -> None:
    """Call the tool in this process, without a socket."""
    from core.testing import Client  # needs httpx, which only the development install has
    from examples.running import quiet_settings

    async with Client(create_server(quiet_settings())) as client:
        result = await client.call("count_words", text="one registry, four doors")
        assert result.structured == {"words": 4, "longest": "registry,"}

        refused = await client.call("count_words", txt="a slip")
        assert refused.is_error
        assert refused.error is not None
        assert refused.error["code"] == "INVALID_ARGUMENTS"
        assert "Did you mean 'text'?" in refused.error["message"]

        answer = await client.http.post("/tools/count_words", json={"text": "over REST"})
        assert answer.json() == {"words": 2, "longest": "over"}


if __name__ == "__main__":
    import sys

    if "--check" in sys.argv:
        asyncio.run(main())
    else:
        create_server().run()
