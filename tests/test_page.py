"""The page at `GET /`, in a real browser against a real server.

Chromium runs headless through Playwright; server and test share one event loop.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
import uvicorn
from pydantic import Field, JsonValue

from core import InputModel, MCPServer, NoArguments, OutputModel, Settings, ToolError, ToolResult
from core import content as blocks
from core.catalogue import Catalogue
from core.context import Caller
from core.errors import DependencyUnavailable
from core.observability.health import Check, Component
from core.transports.pages import PAGE
from examples.running import running
from tests.conftest import missing

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

HOSTILE = "<img src=x onerror=\"document.title='broken into'\"><script>document.title='x'</script>"
KEY = "a-key-of-thirty-two-characters-00"
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360"
    "000000000500010d0a2db40000000049454e44ae426082"
)


class Everything(InputModel):
    """One argument of each kind that the form knows."""

    text: str = Field(description=f"Needed. {HOSTILE}")
    count: int = Field(3, ge=1, le=10, description="A whole number.")
    ratio: float | None = Field(None, description="Any number.")
    deep: bool = Field(False, description="A switch.")
    shape: Literal["rows", "records"] = Field("rows", description="A choice.")
    values: list[JsonValue] | None = Field(None, description="A list.")
    options: dict[str, JsonValue] | None = Field(None, description="An object.")


class Received(OutputModel):
    """The arguments as they came."""

    arguments: dict[str, JsonValue]


class Rows(OutputModel):
    """Rows as a database tool returns them."""

    columns: list[str]
    rows: list[list[JsonValue]]
    note: str


class Records(OutputModel):
    """A list of objects."""

    returned: int
    items: list[dict[str, JsonValue]]


def create_server(key: str | None = None) -> MCPServer:
    """Return a server whose tools try the page."""
    settings = Settings.from_dict(
        {
            "security": {"seal_key": "for tests only, as long as it should be"},
            "auth": {"api_key": key},
        }
    )
    server = MCPServer(
        "page",
        version="1.2.3",
        title=f"Pages {HOSTILE}",
        instructions=f"What it is for. {HOSTILE}",
        settings=settings,
    )

    @server.tool(description=f"Return the arguments. {HOSTILE}")
    async def everything(arguments: Everything) -> Received:
        return Received(arguments=arguments.model_dump(mode="json", exclude_unset=True))

    @server.tool(description="Return rows.")
    async def rows(arguments: NoArguments) -> Rows:
        return Rows(
            columns=["id", HOSTILE],
            rows=[[9007199254740993, HOSTILE], [2, None], [3, {"a": [1, 2]}]],
            note=HOSTILE,
        )

    @server.tool(description="Return records.")
    async def records(arguments: NoArguments) -> Records:
        return Records(returned=2, items=[{"name": "one"}, {"name": "two", "size": 2}])

    @server.tool(description="Fail.")
    async def fail(arguments: NoArguments) -> Records:
        raise ToolError(f"It failed. {HOSTILE}", hint="Do something else.", nearest=["a", "b"])

    async def picture(arguments: NoArguments) -> ToolResult:
        return ToolResult([blocks.image(PIXEL, "image/png")])

    server.register_tool(
        name="picture", handler=picture, input_schema=NoArguments, description="Return a picture."
    )
    return server


@pytest.fixture(scope="module")
async def browser(anyio_backend: str) -> AsyncIterator[Browser]:
    """One Chromium for all tests; each has a context of its own in it."""
    try:
        from playwright.async_api import async_playwright
    except ImportError:
        missing("playwright", "pip install playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        missing("Chromium", "apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield browser
        await browser.close()


@asynccontextmanager
async def browsing(browser: Browser, url: str, **options: Any) -> AsyncIterator[Page]:
    """Open a page; nothing may go wrong in its scripts."""
    problems: list[str] = []
    async with await browser.new_context(**options) as context:
        page = await context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda message: (
                problems.append(message.text) if "Security Policy" in message.text else None
            ),
        )
        await page.goto(url)
        yield page
    assert not problems


async def choose(page: Page, tool: str) -> None:
    """Choose a tool in the list."""
    await page.click(f'#tools button[data-tool="{tool}"]')


async def call(page: Page) -> str:
    """Press the button; return what the state says when the answer is there."""
    await page.click("#call button[type=submit]")
    state = page.locator("#call .row [role=status]")
    await state.filter(has_text="HTTP").wait_for()  # a predicate in the page would need eval
    return await state.inner_text()


async def shown(page: Page) -> str:
    """Return the text of the result."""
    return await page.locator("#result .shown").inner_text()


async def test_form_of_each_kind_of_argument_calls_the_tool(browser: Browser) -> None:
    """The form is made from the input schema, and sends only what was filled in."""
    async with running(create_server()) as url, browsing(browser, url) as page:
        await choose(page, "everything")
        await page.fill("[name=text]", "it's 'quoted' $HOME \\ \n and \"long\"")
        await page.click("details.more summary")
        await page.fill("[name=ratio]", "0.5")
        await page.select_option("[name=deep]", label="true")
        await page.select_option("[name=shape]", label="records")
        await page.fill("[name=values]", '[1, "two"]')
        await page.fill("[name=options]", '{"a": null}')
        state = await call(page)
        assert state.startswith("HTTP 200")
        await page.click("#result button[aria-pressed]")
        result = await page.locator("#result pre[aria-label]").inner_text()
        assert '"ratio": 0.5' in result
        assert '"deep": true' in result
        assert '"shape": "records"' in result
        assert '"count"' not in result  # left empty, so the default holds
        assert "it's 'quoted' $HOME" in result


async def test_curl_command_on_the_page_makes_the_same_call(
    browser: Browser, tmp_path: Path
) -> None:
    """Quotes, dollars and line breaks survive the shell."""
    import asyncio

    async with running(create_server()) as url, browsing(browser, url) as page:
        await choose(page, "everything")
        await page.fill("[name=text]", "it's $HOME `x` \\ \n two")
        command = await page.locator("#curl").inner_text()
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            command,
            stdout=asyncio.subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        )
        output, _ = await process.communicate()
        assert output == b'{"arguments":{"text":"it\'s $HOME `x` \\\\ \\n two"}}'


async def test_wrong_input_is_told_beside_its_field_and_not_sent(browser: Browser) -> None:
    """A person sees what is wrong before a call is made."""
    server = create_server()
    async with running(server) as url, browsing(browser, url) as page:
        await choose(page, "everything")
        await page.click("details.more summary")
        await page.fill("[name=count]", "11")
        await page.fill("[name=values]", "[1,")
        await page.click("#call button[type=submit]")
        wrong = await page.locator(".wrong:visible").all_inner_texts()
        assert wrong == [
            "This argument is needed.",
            "At most 10.",
            "This is not valid JSON; texts need double quotes.",
        ]
        focused = await page.evaluate("document.activeElement.name")
        assert focused == "text"
        assert await page.locator("#result").is_hidden()


async def test_hostile_texts_stay_text(browser: Browser) -> None:
    """Names, descriptions, results and errors come from elsewhere; none becomes markup."""
    async with running(create_server()) as url, browsing(browser, url) as page:
        await choose(page, "rows")
        assert (await call(page)).startswith("HTTP 200")
        assert HOSTILE in await shown(page)
        assert await page.locator("#result table tbody tr").count() == 3
        await choose(page, "fail")
        assert (await call(page)).startswith("HTTP 422")
        text = await shown(page)
        assert HOSTILE in text
        assert "Do something else." in text
        assert "nearest a, b" in text
        await choose(page, "everything")
        assert HOSTILE in await page.locator("#name").inner_text()
        assert HOSTILE in await page.locator("#tool .about").inner_text()
        await page.wait_for_timeout(200)
        assert await page.locator("img, main script").count() == 0
        assert "broken into" not in (await page.title()).split("·")[-1]
        assert await page.evaluate("document.title") != "broken into"


async def test_large_whole_numbers_keep_their_digits(browser: Browser) -> None:
    """JavaScript's own numbers end at 2**53."""
    async with running(create_server()) as url, browsing(browser, url) as page:
        await choose(page, "rows")
        await call(page)
        assert "9007199254740993" in await shown(page)
        await page.click("#result button[aria-pressed]")
        assert "9007199254740993" in await page.locator("#result pre[aria-label]").inner_text()


async def test_list_of_objects_is_a_table_and_a_picture_is_shown(browser: Browser) -> None:
    """What people can read better than JSON is shown so."""
    async with running(create_server()) as url, browsing(browser, url) as page:
        await choose(page, "records")
        await call(page)
        heads = await page.locator("#result th").all_inner_texts()
        assert heads == ["name", "size"]
        await choose(page, "picture")
        assert (await call(page)).startswith("HTTP 200")
        source = await page.locator("#result img").get_attribute("src")
        assert source is not None
        assert source.startswith("data:image/png;base64,")


async def test_page_asks_for_the_key_and_keeps_it_in_memory(browser: Browser) -> None:
    """With a key configured, the catalogue is public and calls are not."""
    async with running(create_server(KEY)) as url, browsing(browser, url) as page:
        await choose(page, "records")
        assert (await call(page)).startswith("HTTP 401")
        assert await page.locator("#access").is_visible()
        await page.fill("#key", "wrong-wrong-wrong")
        await page.click("#access-form button")
        await page.locator("#access-state").filter(has_text="refuses").wait_for()
        await page.fill("#key", KEY)
        await page.click("#access-form button")
        await page.locator("#access-state").filter(has_text="works").wait_for()
        assert (await call(page)).startswith("HTTP 200")
        command = await page.locator("#curl").inner_text()
        assert KEY not in command
        assert "$KEY" in command
        stored = await page.evaluate(
            "JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + document.cookie"
        )
        assert KEY not in stored


async def test_page_works_below_a_path_prefix(browser: Browser) -> None:
    """A proxy may show the server at /pg; the page's addresses are relative to where it is."""
    server = create_server()
    application = server.app

    async def below(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            if not scope["path"].startswith("/pg"):
                await send({"type": "http.response.start", "status": 404, "headers": []})
                await send({"type": "http.response.body", "body": b""})
                return
            scope = {**scope, "root_path": "/pg"}
        await application(scope, receive, send)

    config = uvicorn.Config(below, port=0, log_config=None, ws="none")
    async with running(server, config=config) as url, browsing(browser, url + "/pg") as page:
        await choose(page, "records")
        assert (await call(page)).startswith("HTTP 200")
        urls = await page.locator("#urls code").all_inner_texts()
        assert urls == [f"{url}/pg/mcp", f"{url}/pg/sse", f"{url}/pg/openapi.json"]
        assert f"{url}/pg/tools/records" in await page.locator("#curl").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_texts_have_enough_contrast(browser: Browser, scheme: str) -> None:
    """WCAG 2.1 AA: 4.5 to 1 for text of this size, in both colour schemes."""
    async with running(create_server()) as url, browsing(browser, url, color_scheme=scheme) as page:
        await choose(page, "fail")
        await call(page)
        poor = await page.evaluate(
            """() => {
              const rgb = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
              const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
                .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
                .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
              const ground = (node) => {
                for (; node; node = node.parentElement) {
                  const colour = rgb(getComputedStyle(node).backgroundColor);
                  if (colour.length === 3 || colour[3] > 0) return colour;
                }
                return [255, 255, 255];
              };
              const found = [];
              for (const node of document.querySelectorAll("body *")) {
                const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
                if (!own || !node.checkVisibility()) continue;
                const [a, b] = [light(rgb(getComputedStyle(node).color)), light(ground(node))];
                const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
                if (ratio < 4.5) found.push(`${node.textContent.slice(0, 40)}: ${ratio}`);
              }
              return found;
            }"""
        )
        assert poor == []


async def test_every_field_has_a_label_and_narrow_screens_do_not_scroll_sideways(
    browser: Browser,
) -> None:
    """Screen readers and phones."""
    viewport = {"width": 360, "height": 740}
    async with running(create_server()) as url, browsing(browser, url, viewport=viewport) as page:
        await choose(page, "everything")
        unlabelled = await page.evaluate(
            "[...document.querySelectorAll('input,select,textarea')]"
            ".filter((i) => !i.labels.length).length"
        )
        assert unlabelled == 0
        await choose(page, "rows")
        await call(page)
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360


def with_endpoints() -> MCPServer:
    """Return a server with two others below it: `left`, which is down, and `right`."""
    server = create_server()
    states = {"left": Component("down", f"It ended. {HOSTILE}"), "right": Component("up")}

    def checked(name: str) -> Check:
        async def check() -> Component:
            counted = {"title": f"{name} {HOSTILE}", "state": "idle", "tools_count": 7}
            return replace(states[name], facts=counted)

        return check

    class Silent(Catalogue):
        """What a program offers that does not run."""

        async def load(self, caller: Caller) -> None:
            """Do not tell."""
            raise DependencyUnavailable(f"The server left has ended. {HOSTILE}")

    for name, catalogue in (("left", Silent()), ("right", Catalogue())):
        info = {"name": name, "version": "1", "title": f"{name} {HOSTILE}"}
        server.add_endpoint(name, info, catalogue)
        server.health.add_endpoint(name, checked(name))
    return server


async def test_page_of_a_server_with_others_behind_it_leads_to_them(browser: Browser) -> None:
    """Name, state, tools and address of each; whatever they call themselves is text."""
    async with running(with_endpoints()) as url, browsing(browser, url) as page:
        await page.locator("#servers-title", has_text="2 servers").wait_for()
        rows = await page.locator("#server-list tbody tr").all_inner_texts()
        assert [row.split("\t")[1:3] for row in rows] == [["down", "7"], ["idle", "7"]]
        assert f"It ended. {HOSTILE}" in rows[0]
        addresses = await page.locator("#urls code").all_inner_texts()
        assert addresses == [f"{url}/left/mcp", f"{url}/right/mcp", f"{url}/mcp"]
        assert "left" not in await page.locator("#parts").inner_text()
        await page.click(f"text=right {HOSTILE}")
        await page.wait_for_url(f"{url}/right")
        await page.locator("#status", has_text="healthy").wait_for()
        assert await page.locator("#name").inner_text() == f"right {HOSTILE}"
        assert await page.locator("#urls code").first.inner_text() == f"{url}/right/mcp"
        assert await page.locator("#servers").is_hidden()


async def test_page_of_a_server_that_is_down_has_its_name_and_the_reason(browser: Browser) -> None:
    """Its tools cannot be read then."""
    async with running(with_endpoints()) as url, browsing(browser, f"{url}/left") as page:
        await page.locator("#trouble", has_text="The server left has ended.").wait_for()
        await page.locator("#status", has_text="degraded").wait_for()
        assert await page.locator("#name").inner_text() == f"left {HOSTILE}"
        assert (await page.title()).startswith("left ")


def test_page_is_one_file_without_external_parts_or_markup_from_data() -> None:
    """It works without the internet, and its script never parses a string as HTML."""
    source = PAGE.decode()
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert forbidden not in source
    for outside in ("https://", "//cdn", "@import", '<link rel="stylesheet"', 'src="http'):
        assert outside not in source
