"""The policy on URLs, as tables: what is fetched, as what, and why the rest is not."""
# ruff: noqa: RUF001  (characters that look like others are what half of this is about)

from __future__ import annotations

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import ToolError
from services.fetch.errors import BadUrl, UrlRefused
from services.fetch.policy.addresses import AddressRule, literal
from services.fetch.policy.urls import MAX_URL_CHARS, UrlPolicy
from services.fetch.settings import FetchSettings

POLICY = UrlPolicy(ports=(80, 443, 8080, 8443))
RULE = AddressRule()


def _error(
    text: str, policy: UrlPolicy = POLICY, *, base: str | None = None
) -> BadUrl | UrlRefused | None:
    try:
        policy.check(text, base=base)
    except (BadUrl, UrlRefused) as error:
        return error
    return None


def _reason(text: str, policy: UrlPolicy = POLICY, *, base: str | None = None) -> str | None:
    """Return the reason a URL is refused for; None if it is not."""
    error = _error(text, policy, base=base)
    return None if error is None else str(error.facts["reason_code"])


HARMLESS = [
    # What it is given as, and what is fetched.
    ("http://example.org", "http://example.org/"),
    ("https://example.org/", "https://example.org/"),
    ("HTTPS://EXAMPLE.ORG/Path", "https://example.org/Path"),
    ("hTtP://eXample.org/", "http://example.org/"),
    (" https://example.org/ ", "https://example.org/"),
    ("https://example.org:443/", "https://example.org/"),
    ("http://example.org:80/", "http://example.org/"),
    ("http://example.org:443/", "http://example.org:443/"),
    ("https://example.org:80/", "https://example.org:80/"),
    ("http://example.org:8080/a", "http://example.org:8080/a"),
    ("https://example.org:8443/a", "https://example.org:8443/a"),
    ("http://example.org:/", "http://example.org/"),
    ("http://example.org:0080/", "http://example.org/"),
    ("https://example.org/a/b/c.html", "https://example.org/a/b/c.html"),
    ("https://example.org/a/../b/./c", "https://example.org/b/c"),
    ("https://example.org/%2e%2e/%2E/x", "https://example.org/x"),
    ("https://example.org/../../etc/passwd", "https://example.org/etc/passwd"),
    ("https://example.org//a//b", "https://example.org//a//b"),
    ("https://example.org?q=1", "https://example.org/?q=1"),
    ("https://example.org/?", "https://example.org/?"),
    ("https://example.org/?q=a+b%20c&d=e;f", "https://example.org/?q=a+b%20c&d=e;f"),
    ("https://example.org/?u=http://127.0.0.1/", "https://example.org/?u=http://127.0.0.1/"),
    ("https://example.org/?a@b.org", "https://example.org/?a@b.org"),
    ("https://example.org/@user/post:1", "https://example.org/@user/post:1"),
    ("https://medium.com/@name/title-1a2b", "https://medium.com/@name/title-1a2b"),
    ("https://example.org/a:b@c", "https://example.org/a:b@c"),
    ("https://example.org/:80/", "https://example.org/:80/"),
    ("https://example.org/#part", "https://example.org/"),
    ("https://example.org#", "https://example.org/"),
    ("https://example.org/#a@b\\c", "https://example.org/"),
    ("https://example.org/#:~:text=words", "https://example.org/"),
    ("https://example.org/a b", "https://example.org/a%20b"),
    ("https://example.org/?q=a b", "https://example.org/?q=a%20b"),
    ("https://example.org/ü?ö=ß", "https://example.org/%C3%BC?%C3%B6=%C3%9F"),
    ("https://example.org/日本", "https://example.org/%E6%97%A5%E6%9C%AC"),
    ("https://example.org/💩", "https://example.org/%F0%9F%92%A9"),
    ("https://example.org/%E4", "https://example.org/%E4"),
    ("https://example.org/%zz%", "https://example.org/%zz%"),
    ("https://example.org/%00%0d%0a", "https://example.org/%00%0d%0a"),
    ("https://example.org/%5c%2f", "https://example.org/%5c%2f"),
    ("https://example.org/%7Euser/~user", "https://example.org/%7Euser/~user"),
    ("https://example.org/[a]|{b}^`", "https://example.org/[a]|%7Bb%7D%5E%60"),
    ("https://example.org/?[a]|{b}^`", "https://example.org/?[a]|{b}^`"),
    ("https://example.org/?'\"<>", "https://example.org/?%27%22%3C%3E"),
    ("https://example.org/wiki/A_(b)", "https://example.org/wiki/A_(b)"),
    ("https://example.org/a,b;c=d!e*'$&", "https://example.org/a,b;c=d!e*'$&"),
    ("https://example.org/x%252e", "https://example.org/x%252e"),
    ("https://example.org./", "https://example.org/"),
    ("https://example.org.:8443/x", "https://example.org:8443/x"),
    ("https://a.b.c.d.example.org/", "https://a.b.c.d.example.org/"),
    ("https://exa_mple.org/", "https://exa_mple.org/"),
    ("https://_dmarc.example.org/", "https://_dmarc.example.org/"),
    ("https://a-.example.org/", "https://a-.example.org/"),
    ("https://a--b.example.org/", "https://a--b.example.org/"),
    ("https://r3---sn-x.example.org/", "https://r3---sn-x.example.org/"),
    ("https://1e100.net/", "https://1e100.net/"),
    ("https://0x7f.example/", "https://0x7f.example/"),
    ("https://127.0.0.1.nip.example/", "https://127.0.0.1.nip.example/"),
    ("https://3.14.example/", "https://3.14.example/"),
    ("https://bücher.example/", "https://xn--bcher-kva.example/"),
    ("https://BÜCHER.example/", "https://xn--bcher-kva.example/"),
    ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
    ("https://XN--BCHER-KVA.example/", "https://xn--bcher-kva.example/"),
    ("https://faß.example/", "https://xn--fa-hia.example/"),
    ("https://日本語。jp/", "https://xn--wgv71a119e.jp/"),
    ("https://例え.テスト/", "https://xn--r8jz45g.xn--zckzah/"),
    ("https://пример.испытание/", "https://xn--e1afmkfd.xn--80akhbyknj4f/"),
    ("https://מבחן.example/", "https://xn--5dbmtg.example/"),
    ("https://نامه‌ای.com/", "https://xn--mgba3gch31f060k.com/"),
    ("https://☃.net/", "https://xn--n3h.net/"),
    ("https://❤️.ws/", "https://xn--qei.ws/"),
    ("https://xn--ls8h.la/", "https://xn--ls8h.la/"),
    ("https://ｅｘａｍｐｌｅ.org/", "https://example.org/"),
    ("https://intranet/", "https://intranet/"),
    ("http://93.184.216.34/", "http://93.184.216.34/"),
    ("http://93.184.216.34.:80/", "http://93.184.216.34/"),
    ("http://0x5db8d822/", "http://93.184.216.34/"),
    ("http://1572395042/", "http://93.184.216.34/"),
    ("http://0135.0270.0330.042/", "http://93.184.216.34/"),
    ("http://93.12113954/", "http://93.184.216.34/"),
    ("http://1.1/", "http://1.0.0.1/"),
    ("http://[2606:4700:4700::1111]/", "http://[2606:4700:4700::1111]/"),
    ("http://[2606:4700:4700:0:0:0:0:1111]:8080/", "http://[2606:4700:4700::1111]:8080/"),
    ("http://[2A00:1450:4001:800::200E]/", "http://[2a00:1450:4001:800::200e]/"),
    ("http://[::ffff:8.8.8.8]/", "http://[::ffff:808:808]/"),
]


@pytest.mark.parametrize(("text", "url"), HARMLESS)
def test_a_harmless_url_is_read_as_browsers_read_it(text: str, url: str) -> None:
    """And what is asked for is that, in httpx's eyes too; addresses in it are public ones."""
    target = POLICY.check(text)
    assert target.url == url
    assert str(httpx.URL(target.url)) == url
    address = literal(target.host)
    assert address is None or RULE.refusal(address) is None


REFUSED = [
    # Nothing that can be read.
    ("", "empty"),
    ("   ", "empty"),
    ("https://example.org/" + "a" * MAX_URL_CHARS, "too_long"),
    ("https://example.org/" + "ü" * (MAX_URL_CHARS // 6), "too_long"),
    ("https://" + "a" * MAX_URL_CHARS + ".org/", "too_long"),
    ("https://example.org/\ud800", "not_unicode"),
    ("https://\udfff.org/", "not_unicode"),
    # No scheme.
    ("example.org", "missing_scheme"),
    ("example.org/path", "missing_scheme"),
    ("www.example.org?x", "missing_scheme"),
    ("//example.org/", "missing_scheme"),
    ("/etc/passwd", "missing_scheme"),
    ("?q", "missing_scheme"),
    ("example.org:8080", "missing_scheme"),
    ("example.org:8080/x", "missing_scheme"),
    ("localhost:8080/x", "missing_scheme"),
    ("127.0.0.1", "missing_scheme"),
    ("[::1]", "missing_scheme"),
    ("://example.org", "missing_scheme"),
    ("1http://example.org", "missing_scheme"),
    ("<https://example.org>", "missing_scheme"),
    ("[a](https://example.org)", "missing_scheme"),
    ("\u00a0https://example.org/", "missing_scheme"),
    ("ｈｔｔｐ://example.org/", "missing_scheme"),
    # Other schemes.
    ("file:///etc/passwd", "scheme"),
    ("FILE:///etc/passwd", "scheme"),
    ("file://localhost/etc/passwd", "scheme"),
    ("file:/etc/passwd", "scheme"),
    ("ftp://example.org/", "scheme"),
    ("sftp://example.org/", "scheme"),
    ("gopher://127.0.0.1:6379/_INFO", "scheme"),
    ("dict://127.0.0.1:11211/stat", "scheme"),
    ("ldap://127.0.0.1/", "scheme"),
    ("tftp://127.0.0.1/x", "scheme"),
    ("ws://example.org/", "scheme"),
    ("wss://example.org/", "scheme"),
    ("data:text/html,<p>x", "scheme"),
    ("data:text/html;base64,eA==", "scheme"),
    ("javascript:alert(1)", "scheme"),
    ("javascript://example.org/%0aalert(1)", "scheme"),
    ("vbscript:x", "scheme"),
    ("about:blank", "scheme"),
    ("blob:https://example.org/1", "scheme"),
    ("view-source:https://example.org/", "scheme"),
    ("jar:https://example.org/a.jar!/b", "scheme"),
    ("netdoc:///etc/passwd", "scheme"),
    ("php://filter/resource=/etc/passwd", "scheme"),
    ("expect://id", "scheme"),
    ("mailto:a@example.org", "scheme"),
    ("tel:123456", "scheme"),
    ("urn:isbn:1", "scheme"),
    ("chrome://settings", "scheme"),
    ("unix:///var/run/docker.sock", "scheme"),
    ("http+unix://%2Fvar%2Frun%2Fdocker.sock/info", "scheme"),
    ("feed://example.org/", "scheme"),
    ("url:http://127.0.0.1/", "scheme"),
    ("httpx://example.org/", "scheme"),
    ("https.://example.org/", "scheme"),
    # No host, or none that can be one.
    ("http://", "missing_host"),
    ("http:///", "missing_host"),
    ("http:///example.org/", "missing_host"),
    ("http:////example.org/", "missing_host"),
    ("http://?q", "missing_host"),
    ("http://#f", "missing_host"),
    ("http://:80/", "missing_host"),
    ("http://:/", "missing_host"),
    ("http://./", "bad_host"),
    ("http://../", "bad_host"),
    ("http://.example.org/", "bad_host"),
    ("http://example..org/", "bad_host"),
    ("http://example.org../", "bad_host"),
    ("http://exa mple.org/", "bad_host"),
    ("http://example.org /", "bad_host"),
    ("http:// example.org/", "bad_host"),
    ("http://example.org\u3000/", "bad_host"),
    ("http://exa\u00a0mple.org/", "bad_host"),
    ("http://exa\u202emple.org/", "bad_host"),
    ("http://exa*mple.org/", "bad_host"),
    ("http://exa$mple.org/", "bad_host"),
    ("http://exa,mple.org/", "bad_host"),
    ("http://exa;mple.org/", "bad_host"),
    ("http://exa&mple.org/", "bad_host"),
    ("http://exa'mple.org/", "bad_host"),
    ("http://exa<mple.org/", "bad_host"),
    ("http://exa|mple.org/", "bad_host"),
    ("http://exa^mple.org/", "bad_host"),
    ("http://{host}/", "bad_host"),
    ("http://" + "a" * 64 + ".org/", "bad_host"),
    ("http://" + "a." * 126 + "aa/", "bad_host"),
    ("http://" + "ü" * 60 + ".org/", "bad_host"),
    ("http://xn--.org/", "bad_host"),
    ("http://xn--a.example/", "bad_host"),
    ("http://xn--example-.org/", "bad_host"),
    ("http://xn--999999999.example/", "bad_host"),
    ("http://example.123/", "bad_host"),
    ("http://example.0x7f/", "bad_host"),
    ("http://1.2.3.4.5/", "bad_host"),
    ("http://256.0.0.1/", "bad_host"),
    ("http://127.0.0.256/", "bad_host"),
    ("http://4294967296/", "bad_host"),
    ("http://0x100000000/", "bad_host"),
    ("http://127.0.0x/0.1.2/", None),  # 127.0.0.0, a path follows; below, it is loopback
    ("http://08.0.0.1/", "bad_host"),
    ("http://127..1/", "bad_host"),
    ("http://[::1/", "bad_host"),
    ("http://::1/", "missing_host"),
    ("http://[::1]x/", "bad_host"),
    ("http://[]/", "bad_host"),
    ("http://[:::1]/", "bad_host"),
    ("http://[1::2::3]/", "bad_host"),
    ("http://[12345::]/", "bad_host"),
    ("http://[127.0.0.1]/", "bad_host"),
    ("http://[::127.1]/", "bad_host"),
    ("http://[::0x7f.0.0.1]/", "bad_host"),
    ("http://[v1.x]/", "bad_host"),
    ("http://[example.org]/", "bad_host"),
    ("http://［::1］/", "bad_port"),
    # Ports.
    ("http://example.org:0/", "port"),
    ("http://example.org:22/", "port"),
    ("http://example.org:25/", "port"),
    ("http://example.org:81/", "port"),
    ("http://example.org:6379/", "port"),
    ("http://example.org:65535/", "port"),
    ("https://example.org:11211/", "port"),
    ("http://127.0.0.1:22/", "port"),
    ("http://example.org:65536/", "bad_port"),
    ("http://example.org:65616/", "bad_port"),
    ("http://example.org:4294967376/", "bad_port"),
    ("http://example.org:-80/", "bad_port"),
    ("http://example.org:+80/", "bad_port"),
    ("http://example.org:80a/", "bad_port"),
    ("http://example.org:0x50/", "bad_port"),
    ("http://example.org:８０/", "bad_port"),
    ("http://example.org:80:80/", "bad_host"),
    ("http://example.org: 80/", "bad_port"),
    # Userinfo.
    ("http://user@example.org/", "userinfo"),
    ("http://user:pass@example.org/", "userinfo"),
    ("http://@example.org/", "userinfo"),
    ("http://:@example.org/", "userinfo"),
    ("http://:pass@example.org/", "userinfo"),
    ("http://example.org@127.0.0.1/", "userinfo"),
    ("http://example.org:80@127.0.0.1/", "userinfo"),
    ("http://127.0.0.1@example.org/", "userinfo"),
    ("http://a@b@127.0.0.1/", "userinfo"),
    ("http://example.org%2f@127.0.0.1/", "userinfo"),
    ("http://example.org%23@127.0.0.1/", "userinfo"),
    ("http://example.org &@127.0.0.1# @evil.example/", "userinfo"),
    ("http://foo@127.0.0.1:80@example.org/", "userinfo"),
    ("http://example.org＠127.0.0.1/", "bad_host"),
    # Text that readers take differently.
    ("http:example.org", "ambiguous"),
    ("http:/example.org", "ambiguous"),
    ("https:example.org/x", "ambiguous"),
    ("http:127.0.0.1", "ambiguous"),
    ("http:", "ambiguous"),
    ("http:?x", "ambiguous"),
    ("http:\\\\example.org\\", "backslash"),
    ("http://example.org\\@127.0.0.1/", "backslash"),
    ("http://127.0.0.1\\@example.org/", "backslash"),
    ("http://example.org\\.evil.example/", "backslash"),
    ("http:/\\example.org/", "backslash"),
    ("http://example.org/a\\b", "backslash"),
    ("http://example.org?\\@127.0.0.1/", "backslash"),
    ("\\\\example.org\\share", "backslash"),
    ("http://%31%32%37.0.0.1/", "percent_in_host"),
    ("http://%6c%6fcalhost/", "percent_in_host"),
    ("http://exam%70le.org/", "percent_in_host"),
    ("http://example%2eorg/", "percent_in_host"),
    ("http://example.org%2fx/", "percent_in_host"),
    ("http://example.org%00.evil.example/", "percent_in_host"),
    ("http://example.org%0d%0aX:y/", "percent_in_host"),
    ("http://example.org%20/", "percent_in_host"),
    ("http://example.org%09/", "percent_in_host"),
    ("http://example.org:%38%30/", "percent_in_host"),
    ("http://%E3%80%82/", "percent_in_host"),
    ("http://[fe80::1%25eth0]/", "percent_in_host"),
    ("http://[fe80::1%eth0]/", "percent_in_host"),
    ("http://[::1%25lo]/", "percent_in_host"),
    ("http://exam\u00adple.org/", "invisible_character"),
    ("http://exam\u200bple.org/", "invisible_character"),
    ("http://exam\u2060ple.org/", "invisible_character"),
    ("http://\ufeffexample.org/", "invisible_character"),
    ("http://local\u200bhost/", "invisible_character"),
    ("http://127.0.0.1\u200b/", "invisible_character"),
    ("http://example.org／@127.0.0.1/", "userinfo"),
    ("http://example.org／path", "bad_host"),
    ("http://example.org？q", "bad_host"),
    ("http://example.org＃f", "bad_host"),
    ("http://example.org：80/", "bad_host"),
    ("http://a℀b.org/", "bad_host"),
    ("http://％31.0.0.1/", "bad_host"),
    # Control characters, wherever they stand.
    ("\x0bhttp://example.org/", "control_character"),
    ("http://example.org/\x0c", "control_character"),
    ("\x00http://example.org/", "control_character"),
    ("\x01file:///etc/passwd", "control_character"),
    ("ht\ntp://example.org/", "control_character"),
    ("http:\t//example.org/", "control_character"),
    ("http:/\n/127.0.0.1/", "control_character"),
    ("http://exa\tmple.org/", "control_character"),
    ("http://example.org\x00.evil.example/", "control_character"),
    ("http://example.org/\x00", "control_character"),
    ("http://example.org/a\r\nHost: evil.example\r\n\r\n", "control_character"),
    ("http://example.org/a\rb", "control_character"),
    ("http://example.org/a\tb", "control_character"),
    ("http://example.org/\x1b[31m", "control_character"),
    ("http://example.org/\x7f", "control_character"),
    ("http://example.org/\x85", "control_character"),
    ("http://example.org/#a\nb", "control_character"),
    ("java\nscript:alert(1)", "control_character"),
]


@pytest.mark.parametrize("around", ["\n", "\r\n", "\t", " \n "])
def test_white_space_around_a_url_is_dropped(around: str) -> None:
    """Models copy it along; WHATWG drops it too (§4.4). Nothing that follows it is let in."""
    assert POLICY.check(f"{around}http://example.org/a{around}").url == "http://example.org/a"
    assert _reason(f"http://example.org/a{around}b" if around.strip(" ") else "") is not None
    assert _reason("/a\n", base=BASE) == "control_character"


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_a_url_that_is_not_fetched_is_refused_with_its_reason(
    text: str, reason: str | None
) -> None:
    """The reason is stable, since callers branch on it."""
    error = _error(text)
    assert (error and error.facts["reason_code"]) == reason
    assert error is None or error.hint


SPECIAL_ADDRESSES = [
    # Whatever way a host is written, it is judged as the address it is.
    ("http://127.0.0.1/", "loopback"),
    ("http://127.0.0.1./", "loopback"),
    ("http://127.1/", "loopback"),
    ("http://127.0.1/", "loopback"),
    ("http://127.255.255.254/", "loopback"),
    ("http://2130706433/", "loopback"),
    ("http://0x7f000001/", "loopback"),
    ("http://0X7F000001/", "loopback"),
    ("http://017700000001/", "loopback"),
    ("http://0177.0.0.1/", "loopback"),
    ("http://0177.0.0.01/", "loopback"),
    ("http://0x7f.0x0.0x0.0x1/", "loopback"),
    ("http://0x7f.1/", "loopback"),
    ("http://0x7f.0.01/", "loopback"),
    ("http://0x000000007f.1/", "loopback"),
    ("http://00000000177.1/", "loopback"),
    ("http://127.0.0x/0.1.2/", "loopback"),
    ("http://１２７.0.0.1/", "loopback"),
    ("http://127。0。0。1/", "loopback"),
    ("http://127．0．0．1/", "loopback"),
    ("http://127｡0｡0｡1/", "loopback"),
    ("http://①②⑦.⓪.⓪.①/", "loopback"),
    ("http://𝟏𝟐𝟕.𝟎.𝟎.𝟏/", "loopback"),
    ("http://𝟙27.0.0.1/", "loopback"),
    ("http://０ｘ７ｆ.1/", "loopback"),
    ("http://localhost/", "loopback"),
    ("http://LOCALHOST/", "loopback"),
    ("http://localhost./", "loopback"),
    ("http://ｌｏｃａｌｈｏｓｔ/", "loopback"),
    ("http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/", "loopback"),
    ("http://localho\u017ft/", "loopback"),  # the long s of old print
    ("http://foo.localhost/", "loopback"),
    ("http://[::1]/", "loopback"),
    ("http://[0:0:0:0:0:0:0:1]/", "loopback"),
    ("http://[0000::0001]/", "loopback"),
    ("http://[::0.0.0.1]/", "loopback"),
    ("http://0/", "unspecified"),
    ("http://0.0.0.0/", "unspecified"),
    ("http://0x0/", "unspecified"),
    ("http://0x/", "unspecified"),
    ("http://00/", "unspecified"),
    ("http://[::]/", "unspecified"),
    ("http://0.0.0.1/", "this_network"),
    ("http://10.0.0.1/", "private"),
    ("http://10.1/", "private"),
    ("http://0xa000001/", "private"),
    ("http://172.16.0.1/", "private"),
    ("http://172.31.255.255/", "private"),
    ("http://192.168.0.1/", "private"),
    ("http://192.168.257/", "private"),
    ("http://3232235521/", "private"),
    ("http://169.254.169.254/latest/meta-data/", "metadata"),
    ("http://169.254.43518/", "metadata"),
    ("http://2852039166/", "metadata"),
    ("http://0xa9fea9fe/", "metadata"),
    ("http://0251.0376.0251.0376/", "metadata"),
    ("http://169。254。169。254/", "metadata"),
    ("http://[::ffff:169.254.169.254]/", "metadata"),
    ("http://[::ffff:a9fe:a9fe]/", "metadata"),
    ("http://[fd00:ec2::254]/", "metadata"),
    ("http://168.63.129.16/", "metadata"),
    ("http://100.100.100.200/", "metadata"),
    ("http://169.254.1.1/", "link_local"),
    ("http://[fe80::1]/", "link_local"),
    ("http://[::ffff:127.0.0.1]/", "loopback"),
    ("http://[::ffff:7f00:1]/", "loopback"),
    ("http://[0:0:0:0:0:ffff:127.0.0.1]/", "loopback"),
    ("http://[::ffff:0:0]/", "unspecified"),
    ("http://[::ffff:10.0.0.1]/", "private"),
    ("http://[::127.0.0.1]/", "ipv4_compatible"),
    ("http://[::7f00:1]/", "ipv4_compatible"),
    ("http://[::ffff:0:127.0.0.1]/", "translated"),
    ("http://[64:ff9b::127.0.0.1]/", "nat64"),
    ("http://[64:ff9b::a9fe:a9fe]/", "nat64"),
    ("http://[64:ff9b:1::a00:1]/", "nat64"),
    ("http://[2002:7f00:1::]/", "6to4"),
    ("http://[2002:a9fe:a9fe::1]/", "6to4"),
    ("http://[2001:0:7f00:1::]/", "teredo"),
    ("http://[fc00::1]/", "private"),
    ("http://[fd12:3456::1]/", "private"),
    ("http://[fec0::1]/", "site_local"),
    ("http://[ff02::1]/", "multicast"),
    ("http://[2001:db8::1]/", "documentation"),
    ("http://[2606:4700::5efe:127.0.0.1]/", "loopback"),
    ("http://[2606:4700::200:5efe:10.0.0.1]/", "private"),
    ("http://224.0.0.1/", "multicast"),
    ("http://255.255.255.255/", "broadcast"),
    ("http://4294967295/", "broadcast"),
    ("http://240.0.0.1/", "reserved"),
    ("http://100.64.0.1/", "carrier_nat"),
    ("http://198.18.0.1/", "benchmarking"),
    ("http://192.0.2.1/", "documentation"),
]


@pytest.mark.parametrize(("text", "word"), SPECIAL_ADDRESSES)
def test_a_host_is_judged_as_the_address_it_is_however_it_is_written(
    text: str, word: str | None
) -> None:
    """Decimal, octal, hexadecimal, short, full-width and embedded forms are no way around."""
    address = literal(POLICY.check(text).host)
    assert (RULE.refusal(address) if address else None) == word


def test_the_tables_are_as_large_as_they_claim() -> None:
    """More than 250 different cases, none of which is in two tables by mistake."""
    texts = [text for table in (HARMLESS, REFUSED, SPECIAL_ADDRESSES) for text, _ in table]
    assert len(set(texts)) >= 250
    assert len(texts) - len(set(texts)) == 1  # 127.0.0x is in two on purpose


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.org:8080/", "http://www.example.org/", "https://example.org/"),
        *("http://[::1", "http://example.org/ä", "http://u@example.org/", "ftp://example.org/"),
    ],
)
def test_a_url_that_httpx_reads_otherwise_is_ambiguous(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No text is known for which it does today; its next release is another reader."""
    theirs = httpx.URL
    monkeypatch.setattr(httpx, "URL", lambda _: theirs(url))
    assert _reason("http://example.org/") == "ambiguous"


# --- parts of a target ------------------------------------------------------------------------


def test_a_target_has_the_parts_of_its_url() -> None:
    """Host without brackets or dot, port by scheme, fragment kept apart."""
    target = POLICY.check("https://BÜCHER.example.:8443/a?b#c d")
    assert (target.scheme, target.host, target.port) == ("https", "xn--bcher-kva.example", 8443)
    assert target.fragment == "c%20d"
    assert target.url == "https://xn--bcher-kva.example:8443/a?b"
    assert target.origin == "https://xn--bcher-kva.example:8443"


def test_an_ipv6_target_has_brackets_in_its_origin_only() -> None:
    """As the dialler and the Host header want it."""
    target = POLICY.check("http://[2606:4700::0]/")
    assert (target.host, target.origin, target.port) == ("2606:4700::", "http://[2606:4700::]", 80)


def test_a_missing_scheme_is_suggested() -> None:
    """Models often leave it out, and the next call should do."""
    with pytest.raises(BadUrl) as caught:
        POLICY.check("example.org/page")
    assert caught.value.hint == "Did you mean https://example.org/page?"


def test_a_refused_port_names_those_that_are_not() -> None:
    """The caller learns what the operator has configured."""
    with pytest.raises(UrlRefused) as caught:
        UrlPolicy(ports=(443, 80)).check("http://example.org:8080/")
    assert caught.value.hint == "Ports that may be named: 80, 443."


BASE = "https://example.org/a/b?q"
RELATIVE = [
    ("", "https://example.org/a/b?q"),
    ("c", "https://example.org/a/c"),
    ("/c", "https://example.org/c"),
    ("../c", "https://example.org/c"),
    ("?r", "https://example.org/a/b?r"),
    ("#f", "https://example.org/a/b?q"),
    ("/login?next=http://x@y", "https://example.org/login?next=http://x@y"),
    ("//www.example.org/c", "https://www.example.org/c"),
    ("http://www.example.org/", "http://www.example.org/"),
    ("/a b/ü", "https://example.org/a%20b/%C3%BC"),
    ("//127.0.0.1/", "https://127.0.0.1/"),
    ("./a:b", "https://example.org/a/a:b"),
]
RELATIVE_REFUSED = [
    ("file:///etc/passwd", "scheme"),
    ("a:b", "scheme"),
    ("ftp://example.org/", "scheme"),
    ("https:c", "ambiguous"),
    ("https:/c", "ambiguous"),
    ("///evil.example/", "missing_host"),
    ("//", "missing_host"),
    ("//user@example.org/", "userinfo"),
    ("/\\evil.example/", "backslash"),
    ("\\\\evil.example/", "backslash"),
    ("/a\r\nSet-Cookie: x", "control_character"),
    ("\t//evil.example/", "control_character"),
    ("//example.org:22/", "port"),
    ("//exa mple.org/", "bad_host"),
    ("//%31.1.1.1/", "percent_in_host"),
]


@pytest.mark.parametrize(("text", "url"), RELATIVE)
def test_a_relative_url_is_read_against_its_base(text: str, url: str) -> None:
    """As a Location header is (RFC 9110 §10.2.2)."""
    assert POLICY.check(text, base=BASE).url == url


@pytest.mark.parametrize(("text", "reason"), RELATIVE_REFUSED)
def test_a_relative_url_is_held_to_the_same_rules(text: str, reason: str) -> None:
    """A redirect can do no more than a caller."""
    assert _reason(text, base=BASE) == reason


# --- lists of hosts ---------------------------------------------------------------------------

LISTS = [
    # allow_hosts, deny_hosts, URL, reason
    (("example.org",), (), "https://example.org/", None),
    (("example.org",), (), "https://EXAMPLE.org./", None),
    (("Example.ORG.",), (), "https://example.org/", None),
    (("example.org",), (), "https://www.example.org/", "host_not_allowed"),
    (("example.org",), (), "https://example.org.evil.example/", "host_not_allowed"),
    (("example.org",), (), "https://notexample.org/", "host_not_allowed"),
    (("example.org",), (), "https://evil.example/example.org", "host_not_allowed"),
    (("example.org",), (), "https://evil.example/?example.org", "host_not_allowed"),
    (("example.org",), (), "https://evil.example#example.org", "host_not_allowed"),
    (("example.org",), (), "https://example.org@evil.example/", "userinfo"),
    (("example.org",), (), "https://93.184.216.34/", "host_not_allowed"),
    (("*.example.org",), (), "https://www.example.org/", None),
    (("*.example.org",), (), "https://a.b.example.org/", None),
    (("*.example.org",), (), "https://example.org/", "host_not_allowed"),
    (("*.example.org",), (), "https://wwwexample.org/", "host_not_allowed"),
    (("*.example.org", "example.org"), (), "https://example.org/", None),
    (("*.example.org",), ("www.example.org",), "https://www.example.org/", "host_denied"),
    (("*.example.org",), ("www.example.org",), "https://a.example.org/", None),
    (("example.org",), ("example.org",), "https://example.org/", "host_denied"),
    ((), ("example.org",), "https://example.org/", "host_denied"),
    ((), ("example.org",), "https://example.org./", "host_denied"),
    ((), ("example.org",), "https://EXAMPLE.org/", "host_denied"),
    ((), ("example.org",), "https://ｅｘａｍｐｌｅ。org/", "host_denied"),
    ((), ("example.org",), "https://www.example.org/", None),
    ((), ("*.example.org",), "https://www.example.org/", "host_denied"),
    ((), ("*.example.org",), "https://example.org/", None),
    ((), ("*.org",), "https://example.org/", "host_denied"),
    (("bücher.example",), (), "https://xn--bcher-kva.example/", None),
    (("xn--bcher-kva.example",), (), "https://BÜCHER.example/", None),
    (("*.bücher.example",), (), "https://a.bücher.example/", None),
    (("93.184.216.34",), (), "http://1572395042/", None),
    ((), ("93.184.216.34",), "http://0x5db8d822/", "host_denied"),
    ((), ("93.184.216.34",), "http://[::ffff:93.184.216.34]/", "host_denied"),
    ((), ("::ffff:5db8:d822",), "http://93.184.216.34/", "host_denied"),
    ((), ("2606:4700::1",), "http://[2606:4700:0::1]/", "host_denied"),
    ((), ("[2606:4700::1]",), "http://[2606:4700::1]/", "host_denied"),
    (("intranet",), (), "http://intranet/", None),
]


@pytest.mark.parametrize(("allow", "deny", "url", "reason"), LISTS)
def test_lists_of_hosts_are_kept(
    allow: tuple[str, ...], deny: tuple[str, ...], url: str, reason: str | None
) -> None:
    """A pattern means whole labels, in whatever way host and pattern are written; deny wins."""
    policy = UrlPolicy(ports=(80, 443), allow_hosts=allow, deny_hosts=deny)
    assert _reason(url, policy) == reason


@pytest.mark.parametrize(
    "pattern",
    [
        *("", " ", "*", "*.", "**.org", "*.*.org", "a*.org", "www.*", "a b", "a\tb", "a/b", "a:80"),
        *("http://example.org", "[::1]:80", "10.0.0.0/8", "*.10.0.0.1", "*.::1", "a@b", "a\\b"),
        *("a..b", ".example.org", "fe80::1%eth0", "exam%70le.org", "a?b", "a#b", "256.1.1.1"),
    ],
)
def test_a_pattern_that_means_no_host_is_a_value_error(pattern: str) -> None:
    """A typing error in a deny list is found at start, not by what slips through."""
    with pytest.raises(ValueError, match="no pattern of hosts"):
        UrlPolicy(ports=(443,), deny_hosts=[pattern])


@pytest.mark.parametrize("name", ["allow_hosts", "deny_hosts"])
def test_the_settings_refuse_such_a_pattern_by_name(name: str) -> None:
    """The service does not start with it."""
    with pytest.raises(ValueError, match=r"'https://example\.org' is no pattern of hosts"):
        FetchSettings.from_dict({name: "example.com, https://example.org"})


# --- properties -------------------------------------------------------------------------------

TEXTS = st.text(st.sampled_from("aZ0.:/@%?#[]\\ -_\u200b\u3002\uff11é\n\t☃xn"), max_size=40)


@given(st.sampled_from(["http://", "https://", "HTTP:", "//", "http://example.org"]), TEXTS)
@example("http://example.org", "/?")
def test_whatever_is_accepted_is_read_alike_again(start: str, rest: str) -> None:
    """Serialising is a fixed point: httpx and a second check see the very same host and URL."""
    try:
        target = POLICY.check(start + rest)
    except ToolError:
        return
    again = POLICY.check(target.url)
    assert (again.url, again.host, again.port) == (target.url, target.host, target.port)
    seen = httpx.URL(target.url)
    assert seen.raw_host.decode() == target.host
    assert seen.userinfo == b""


@given(st.text(max_size=60))
def test_any_text_is_a_target_or_a_typed_error(text: str) -> None:
    """No other exception gets out, whatever comes in."""
    error = _error(text, base="https://example.org/")
    assert error is None or error.facts["reason_code"]


@given(st.ip_addresses(v=4), st.sampled_from(["{}", "0x{:x}", "0{:o}"]))
def test_every_number_form_of_an_address_is_that_address(address: object, form: str) -> None:
    """Decimal, hexadecimal and octal, of all 2**32."""
    number = int(address)  # type: ignore[call-overload]  # hypothesis types addresses as object
    assert POLICY.check(f"http://{form.format(number)}/").host == str(address)
