"""Error statuses, and walls against programs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.fetch.convert import Document, PageMetadata
from services.fetch.statuses import retry_after, status_error, wall_of
from tests.services.fetch.browsing import DOWNLOAD

NOW = 1_800_000_000.0


def document(text: str, title: str | None = None, kind: str = "html") -> Document:
    """Return an error page's text."""
    metadata = PageMetadata(title=title)
    return Document(content=text, format="text", kind=kind, engine="body", metadata=metadata)  # type: ignore[arg-type]  # a Literal as text


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        *((status, False) for status in (400, 401, 403, 404, 410, 418, 501, 599)),
        *((status, True) for status in (408, 425, 429, 500, 502, 503, 504)),
    ],
)
def test_statuses_say_whether_trying_again_helps(status: int, retryable: bool) -> None:
    """What the client did wrong stays wrong; what the server lacks may come back."""
    error = status_error(replace(DOWNLOAD, status=status), None, NOW)
    assert error.retryable is retryable
    assert error.facts["status"] == status
    assert str(status) in error.message


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        (" 5 ", 5.0),
        ("Fri, 15 Jan 2027 08:01:00 GMT", 60.0),
        ("Fri, 15 Jan 2021 08:01:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
        ("9" * 400, 999_999_999.0),
    ],
)
def test_retry_after_is_read_in_both_forms(value: str | None, seconds: float | None) -> None:
    """RFC 9110 section 10.2.3: seconds, or a date; anything else says nothing."""
    assert retry_after(value, NOW) == seconds


def test_the_text_of_an_error_page_comes_along_in_short() -> None:
    """Often it says what is wrong; 500 characters are enough for that."""
    error = status_error(replace(DOWNLOAD, status=404), document("No  such\n\npage. " * 100), NOW)
    assert error.facts["page_text"].startswith("No such page. No such page.")
    assert len(error.facts["page_text"]) <= 500


def test_the_json_of_an_api_error_keeps_its_form() -> None:
    """It is what the caller of an API needs to see."""
    error = status_error(
        replace(DOWNLOAD, status=422), document('{\n  "error": "x"\n}', kind="json"), NOW
    )
    assert error.facts["page_text"] == '{\n  "error": "x"\n}'


@pytest.mark.parametrize(
    ("headers", "title", "text", "wall"),
    [
        ({"server": "cloudflare", "cf-mitigated": "challenge"}, None, "", "Cloudflare"),
        ({"server": "cloudflare"}, "Just a moment...", "Enable JavaScript", "Cloudflare"),
        ({"x-amzn-waf-action": "captcha"}, None, "", "AWS WAF"),
        ({"x-vercel-mitigated": "challenge"}, None, "", "Vercel"),
        ({}, "Access Denied", "Reference #18.2d351ab8.1557333295.a4e16ab", "Akamai"),
        ({}, None, "Request unsuccessful. Incapsula incident ID: 443000-1", "Imperva"),
        ({}, None, "Press & Hold to confirm you are a human", "HUMAN"),
        ({}, "Making sure you're not a bot!", "", "Anubis"),
        ({}, None, "Please verify you are a human to go on.", "a captcha"),
        ({}, "Just a moment, please", "A poem about waiting.", None),
        ({}, "How captchas work", "Verify you are human. " + "Long text. " * 500, None),
        ({"server": "cloudflare"}, "Tides", "They rise and fall.", None),
    ],
)
def test_walls_are_known_by_headers_or_by_words_on_a_short_page(
    headers: dict[str, str], title: str | None, text: str, wall: str | None
) -> None:
    """A page with something to read is no wall, whatever it talks about."""
    assert wall_of(replace(DOWNLOAD, headers=headers), document(text, title)) == wall


def test_a_wall_is_not_tried_again() -> None:
    """Cloudflare answers 503 and 429 too; the same call meets the same wall."""
    download = replace(DOWNLOAD, status=503, headers={"cf-mitigated": "challenge"})
    error = status_error(download, None, NOW)
    assert error.retryable is False
    assert "Cloudflare" in error.message
    assert error.facts["wall"] == "Cloudflare"
