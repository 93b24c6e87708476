"""The arguments that fetch and fetch_many share, and what they mean."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, StringConstraints

from core.errors import InvalidArguments
from core.models import Arguments
from services.fetch.backend import CacheMode
from services.fetch.convert import Format, MainContent, Wanted
from services.fetch.errors import BadSelector
from services.fetch.tools.desk import Request

MAX_URL_CHARS = 20_000
"""More than any URL that is fetched may have, so that the policy on URLs says so in its words."""
MAX_LENGTH = 1_000_000
MAX_HEADERS = 20
MIN_TIMEOUT_S = 0.1
"""Not `gt=0`: some clients (Gemini) refuse schemas with exclusive bounds."""
MAX_STEPS = 16
"""Combinators of one selector; those that people copy out of browsers have about ten."""

_SINGLE_WORDS = re.compile(r"\[[^\]]*\]|\"[^\"]*\"|'[^']*'|\\.", re.DOTALL)
_COMBINATOR = re.compile(r"\s*[>+~]\s*|\s+")

Url = Annotated[str, StringConstraints(min_length=1, max_length=MAX_URL_CHARS)]


class PageOptions(Arguments):
    """How pages are fetched and shown."""

    max_length: int | None = Field(
        None,
        ge=1,
        le=MAX_LENGTH,
        description="Characters of a page to return exactly; about 20000 if absent.",
    )
    raw: bool = Field(False, description="The source as it came, not converted.")
    format: Format = Field("markdown", description="json: of an API, or what a page embeds.")
    main_content: MainContent = Field(
        "auto", description="always: article only; never: menus and all."
    )
    selector: str | None = Field(None, max_length=1_000, description="CSS: only these elements.")
    remove_selector: str | None = Field(None, max_length=1_000, description="CSS: not these.")
    links: bool | None = Field(
        None, description="true: list them too; false: no targets in the text."
    )
    images: bool = Field(True, description="false: leave images out of the text.")
    timeout_s: float | None = Field(None, ge=MIN_TIMEOUT_S, description="Default 20, at most 40.")
    headers: dict[str, str] | None = Field(
        None, max_length=MAX_HEADERS, description="Accept, Accept-Language."
    )
    cache: CacheMode = Field(
        "normal", description="reload: ask the site whatever is kept; only: never ask."
    )

    def request(self, url: str) -> Request:
        """Return what is wanted of one URL.

        Raises:
            InvalidArguments: `raw` and another format are asked for; the default one is none,
                because many clients send every default of a schema. Or a selector is given where
                there are no elements.
            BadSelector: It has too many combinators.
        """
        return Request(
            url=url,
            wanted=self._wanted(),
            headers=self.headers or {},
            cache=self.cache,
            timeout_s=self.timeout_s,
        )

    def _wanted(self) -> Wanted:
        if self.raw and self.format not in ("raw", "markdown"):
            raise InvalidArguments(
                f"raw is given together with format={self.format!r}.", hint="Give one of them."
            )
        if self._source_is_shown and (self.selector or self.remove_selector):
            raise InvalidArguments(
                "A selector chooses elements of a converted page; with raw or format='json' there "
                "are none.",
                hint="Leave it out, or use format='html' to see the elements' own markup.",
            )
        for selector in (self.selector, self.remove_selector):
            if selector and steps_of(selector) > MAX_STEPS:
                raise _too_many_steps(selector)
        return Wanted(
            format="raw" if self.raw else self.format,
            main_content=self.main_content,
            selector=self.selector or None,
            remove_selector=self.remove_selector or None,
            links=self.links is not False,
            images=self.images,
        )

    @property
    def _source_is_shown(self) -> bool:
        return self.raw or self.format in ("raw", "json")

    @property
    def names_format(self) -> bool:
        """Whether the call says how the page is converted, and does not leave it to the default."""
        named = {"raw", "format", "main_content", "selector", "remove_selector", "images"}
        return not named.isdisjoint(self.model_fields_set)


def steps_of(selector: str) -> int:
    """Return how many combinators a CSS selector has: each may walk over the whole page."""
    plain = _SINGLE_WORDS.sub("", selector)
    return len(_COMBINATOR.findall(re.sub(r"\s*,\s*", ",", plain.strip())))


def _too_many_steps(selector: str) -> BadSelector:
    return BadSelector(
        f"The selector has {steps_of(selector)} combinators; {MAX_STEPS} are the limit.",
        hint="Name the element itself, by its id or class: #content, .post-body.",
        reason_code="too_complex",
        limit=MAX_STEPS,
    )
