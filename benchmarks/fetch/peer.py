"""Runs in the peers' environment: converts the pages it is given on standard input.

A line of JSON in: `{"how": name, "html": text}`; a line out: `{"text": …, "ms": …}`. It imports
nothing of this project.
"""

import importlib
import json
import os
import resource
import sys
from collections.abc import Callable


def _official(html: str) -> str:
    server = importlib.import_module("mcp_server_fetch.server")

    return str(server.extract_content_from_html(html))


def _official_without_node(html: str) -> str:
    markdownify = importlib.import_module("markdownify")
    readabilipy = importlib.import_module("readabilipy.simple_json")
    found = readabilipy.simple_json_from_html_string(html, use_readability=False)
    return str(markdownify.markdownify(found["content"] or "", heading_style=markdownify.ATX))


def _trafilatura(html: str) -> str:
    import trafilatura

    return trafilatura.extract(html, include_comments=False) or ""


def _trafilatura_markdown(html: str) -> str:
    import trafilatura

    return (
        trafilatura.extract(
            html,
            output_format="markdown",
            include_formatting=True,
            include_links=True,
            include_images=True,
            favor_recall=True,
        )
        or ""
    )


def _readability(html: str) -> str:
    import lxml.html

    readability = importlib.import_module("readability")
    summary = readability.Document(html).summary(html_partial=True)
    return str(lxml.html.fromstring(summary).text_content()) if summary else ""


def _markdownify(html: str) -> str:
    markdownify = importlib.import_module("markdownify")
    return str(markdownify.markdownify(html))


def _markdownify_tuned(html: str) -> str:
    markdownify = importlib.import_module("markdownify")
    return str(
        markdownify.markdownify(
            html,
            heading_style=markdownify.ATX,
            bullets="-",
            newline_style=markdownify.BACKSLASH,
            escape_misc=True,
            code_language_callback=lambda code: _language(code),
        )
    )


def _language(code: object) -> str:
    inner = code.find("code")  # type: ignore[attr-defined] # a tag of BeautifulSoup
    classes = (inner.get("class") or []) if inner else []
    return next((name[9:] for name in classes if name.startswith("language-")), "")


_WAYS: dict[str, Callable[[str], str]] = {
    "mcp-server-fetch": _official,
    "mcp-server-fetch without Node": _official_without_node,
    "trafilatura": _trafilatura,
    "trafilatura's markdown": _trafilatura_markdown,
    "readability-lxml": _readability,
    "markdownify": _markdownify,
    "markdownify tuned": _markdownify_tuned,
}


def _cpu_s() -> float:
    """Return the processor time of this process and of those it started and waited for (Node)."""
    spent = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        spent += usage.ru_utime + usage.ru_stime
    return spent


def main() -> None:
    """Convert what comes until standard input ends."""
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # peers, and programs that they start, print what they like
    for line in sys.stdin:
        job = json.loads(line)
        convert = _WAYS[job["how"]]
        started = _cpu_s()
        try:
            text = convert(job["html"])
        except Exception as error:  # a page a peer cannot take counts as empty
            print(f"{job['how']}: {type(error).__name__}", file=sys.stderr)
            text = ""
        result = {"text": text, "ms": (_cpu_s() - started) * 1000}
        results.write(json.dumps(result) + "\n")
        results.flush()


if __name__ == "__main__":
    main()
