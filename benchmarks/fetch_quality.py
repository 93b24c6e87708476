"""How well and how fast pages become text, beside the peers, in one run.

`python -m benchmarks.fetch_quality [--articles PATH] [--without-peers]`

Articles: 181 pages whose article people marked (scrapinghub/article-extraction-benchmark), scored
by shingles of four words. Round trip: the examples of the CommonMark specification, whose HTML is
converted to markdown and rendered again. Neither is part of this repository: the articles are a
checkout that you name, the specification comes from npm (`commonmark-spec`).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.fetch.measures import (
    BASE_URL,
    Score,
    commonmark_examples,
    renders_as,
    shingle_score,
    text_of_markdown,
)
from benchmarks.peers import CACHE, python_environment, versions
from services.fetch.convert import Source, Wanted
from services.fetch.convert.conversion import convert

ARTICLES_VARIABLE = "MCP_BENCH_ARTICLES"
REQUIREMENTS = (
    "mcp-server-fetch==2026.10.*",
    "trafilatura==2.3.*",
    "readability-lxml==0.9.*",
    "markdownify==1.2.*",
    "lxml_html_clean",
)
ARTICLE_PEERS = (
    "trafilatura",
    "readability-lxml",
    "mcp-server-fetch",
    "mcp-server-fetch without Node",
)
MARKDOWN_PEERS = ("markdownify", "markdownify tuned", "trafilatura's markdown")
SPEC = "commonmark-spec@0.31.2"
OURS = {
    "ours": Wanted(),
    "ours, as text": Wanted(format="text"),
    "ours, main_content=always": Wanted(main_content="always"),
}
GOALS = {"F1": 0.965, "round trip": 0.93, "ms": 15.0}

Convert = Callable[[str, str], tuple[str, float]]
"""HTML and its URL become text and the milliseconds of processor time that took."""


class Article(NamedTuple):
    """A page and what people marked as its article."""

    url: str
    html: str
    text: str


def read_articles(place: Path) -> list[Article]:
    """Read a checkout of the corpus."""
    truth = json.loads((place / "ground-truth.json").read_text(encoding="utf-8"))
    return [
        Article(
            url=entry["url"],
            html=gzip.decompress((place / "html" / f"{name}.html.gz").read_bytes()).decode(
                "utf-8", "replace"
            ),
            text=entry["articleBody"],
        )
        for name, entry in truth.items()
    ]


def read_spec() -> str:
    """Return the CommonMark specification, fetched from npm at first use."""
    place = CACHE / "commonmark"
    if not list(place.glob("*.tgz")):
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", SPEC], cwd=place, check=True, capture_output=True)
    with tarfile.open(next(place.glob("*.tgz"))) as archive:
        member = archive.extractfile("package/spec.txt")
        assert member is not None
        return member.read().decode("utf-8")


def peer_python() -> str:
    """Return the interpreter of the peers' environment, made at first use."""
    python = python_environment("fetch-peers", REQUIREMENTS)
    script = next((CACHE / "fetch-peers").glob("lib/*/site-packages/readabilipy/javascript"))
    if not (script / "node_modules").exists():
        subprocess.run(["npm", "install", "--silent"], cwd=script, check=False)
    return python


def ours(wanted: Wanted) -> Convert:
    """Return our conversion, in this process, as a worker does it."""

    def run(html: str, url: str) -> tuple[str, float]:
        source = Source(body=html.encode(), content_type="text/html; charset=utf-8", url=url)
        started = time.process_time()
        document = convert(source, wanted)
        return document.content, (time.process_time() - started) * 1000

    return run


@contextmanager
def peer(python: str, how: str) -> Iterator[Convert]:
    """Run a peer in a process of its own; the time is taken there."""
    script = Path(__file__).parent / "fetch" / "peer.py"
    with subprocess.Popen(
        [python, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        jobs, results = process.stdin, process.stdout

        def run(html: str, _url: str) -> tuple[str, float]:
            jobs.write(json.dumps({"how": how, "html": html}) + "\n")
            jobs.flush()
            result = json.loads(results.readline())
            return result["text"], result["ms"]

        yield run
        jobs.close()


def measure_articles(
    name: str, run: Convert, articles: list[Article], *, is_markdown: bool
) -> Score:
    """Convert every page, and print how good and how fast that was."""
    run(articles[0].html, articles[0].url)
    times_ms: list[float] = []
    pairs = []
    for article in articles:
        text, ms = run(article.html, article.url)
        pairs.append((article.text, text_of_markdown(text) if is_markdown else text))
        times_ms.append(ms)
    score = shingle_score(pairs)
    slow = statistics.quantiles(times_ms, n=20)[-1]
    print(
        f"{name:34}{score.f1:>8.3f}{score.precision:>11.3f}{score.recall:>8.3f}"
        f"{statistics.median(times_ms):>11.1f}{slow:>9.1f}",
        flush=True,
    )
    return score


def measure_round_trip(name: str, run: Convert, examples: list[str]) -> float:
    """Convert every example and render it again; print the share that came back."""
    same = sum(renders_as(run(html, BASE_URL)[0], html) for html in examples)
    print(f"{name:34}{same:>6} of {len(examples)}{same / len(examples):>9.3f}", flush=True)
    return same / len(examples)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the conversion of pages.")
    parser.add_argument("--articles", default=os.environ.get(ARTICLES_VARIABLE))
    parser.add_argument("--without-peers", action="store_true")
    options = parser.parse_args()
    python = "" if options.without_peers else peer_python()
    if python:
        print(versions(python, *(name.split("==")[0] for name in REQUIREMENTS)), "\n")
    _round_trips(python)
    if not options.articles:
        print(
            "\nNo articles: git clone https://github.com/scrapinghub/article-extraction-benchmark,"
            f"\nand name the checkout by --articles or {ARTICLES_VARIABLE}."
        )
        return 2
    _articles(python, read_articles(Path(options.articles)))
    return 0


def _round_trips(python: str) -> None:
    print(f"{'markdown round trip':34}{'same':>6}{'share':>16}   (goal {GOALS['round trip']})")
    examples = commonmark_examples(read_spec())
    measure_round_trip("ours", ours(Wanted(main_content="never")), examples)
    for how in MARKDOWN_PEERS if python else ():
        with peer(python, how) as run:
            measure_round_trip(how, run, examples)


def _articles(python: str, articles: list[Article]) -> None:
    columns = f"{'F1':>8}{'precision':>11}{'recall':>8}{'median ms':>11}{'p95 ms':>9}"
    goals = f"goals {GOALS['F1']}, {GOALS['ms']:g} ms"
    print(f"\n{f'{len(articles)} articles':34}{columns}   ({goals})")
    for name, wanted in OURS.items():
        measure_articles(name, ours(wanted), articles, is_markdown=wanted.format == "markdown")
    for how in ARTICLE_PEERS if python else ():
        with peer(python, how) as run:
            measure_articles(how, run, articles, is_markdown=how.startswith("mcp"))
    print("\nms: of processor time. Markdown is compared as it reads when rendered.")


if __name__ == "__main__":
    sys.exit(main())
