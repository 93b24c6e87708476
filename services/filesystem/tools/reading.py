"""list_allowed_directories and the tools that read files."""

from __future__ import annotations

from core.context import Context
from core.models import NoArguments
from core.tools import Listing
from services.filesystem.backend import reading
from services.filesystem.models.reading import Directories
from services.filesystem.tools.desk import Desk


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of the reading tools."""
    tools = ReadingTools(desk)
    return [
        Listing(
            name="list_allowed_directories",
            title="List allowed directories",
            description="List the directories that can be used (roots), with the alias that paths "
            "begin with, what is allowed there and the free space. Start here.",
            handler=tools.list_allowed_directories,
            arguments=NoArguments,
            result=Directories,
        ),
    ]


class ReadingTools:
    """The tools that read."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def list_allowed_directories(
        self, arguments: NoArguments, context: Context
    ) -> Directories:
        """List the roots."""
        desk = await self._desk.for_call(context)
        found = await desk.backend.run(reading.directories, desk.roots)
        lines = [f"{d.alias} ({d.mode}): {d.path}" for d in found]
        return Directories(directories=found, content="\n".join(["Allowed directories:", *lines]))
