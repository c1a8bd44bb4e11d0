"""A small polite crawler, so that the example's input is a real site and not a file that came along.

A base URL comes in from `pipeline.pages`; pages as text go back to it. One request at a time, robots.txt heeded, one
host only, and always the same order: breadth first, links as they stand on their page.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from http.client import HTTPResponse
from urllib.parse import urldefrag, urljoin, urlsplit
from urllib.request import Request, urlopen
from urllib.robotparser import RobotFileParser

AGENT = "drawbar-example"
PATIENCE = 20.0  # seconds
LONGEST = 8 << 20  # bytes of one page that are read


@dataclass(frozen=True, slots=True)
class Page:
    """One page as a reader sees it: its title, its words without markup, and where its links lead."""

    url: str
    title: str
    text: str
    links: tuple[str, ...]


def crawl(base_url: str, *, max_depth: int, limit: int) -> Iterator[Page]:
    """Pages of one host, at most `limit`, that are at most `max_depth` links away from `base_url`.

    A page with the words of an earlier one is that page under another address, and left out. One that cannot be read
    is skipped, and said so; only the first must be there (`OSError` otherwise).
    """
    if not _on(base_url, urlsplit(base_url).netloc):
        raise ValueError(f"{base_url!r} is not a web address: it must begin with http:// or https://")
    robots = _robots(urljoin(base_url, "/robots.txt"))
    pause = float(robots.crawl_delay(AGENT) or 0)
    seen, texts, queue = {base_url}, set[str](), deque([(base_url, 0)])
    while queue and len(texts) < limit:
        url, depth = queue.popleft()
        page = _page(url, must=url == base_url) if robots.can_fetch(AGENT, url) else None
        if page is None or page.text in texts:
            continue
        texts.add(page.text)
        yield page
        for link in page.links if depth < max_depth else ():
            if link not in seen and _on(link, urlsplit(base_url).netloc):
                seen.add(link)
                queue.append((link, depth + 1))
        time.sleep(pause)


def read_page(url: str, html: str) -> Page:
    """What a reader sees of a page.

    >>> read_page("http://host/a/", "<title>A</title><p>One <b>word</b></p><a href='b.html#top'>B</a>")
    Page(url='http://host/a/', title='A', text='One word B', links=('http://host/a/b.html',))
    """
    reader = _Reader()
    reader.feed(html)
    reader.close()
    links = dict.fromkeys(urldefrag(urljoin(url, link)).url for link in reader.links)
    return Page(url, _spaced(reader.title), _spaced(reader.words), tuple(links))


def _on(url: str, host: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and parts.netloc == host != ""


def _page(url: str, *, must: bool) -> Page | None:
    """The page, or None where there is none, or something else than HTML."""
    try:
        with _open(url) as response:
            if response.headers.get_content_type() != "text/html":
                return None
            charset = response.headers.get_content_charset() or "utf-8"
            return read_page(url, response.read(LONGEST).decode(charset, errors="replace"))
    except OSError as error:
        if must:
            raise
        print(f"skipped {url}: {error}")
        return None


def _robots(url: str) -> RobotFileParser:
    """What the site asks of crawlers; a site that has no such file, or answers with a page, asks nothing."""
    robots = RobotFileParser()
    try:
        with _open(url) as response:
            plain = response.headers.get_content_type() == "text/plain"
            robots.parse(response.read(LONGEST).decode("utf-8", errors="replace").splitlines() if plain else [])
    except OSError:
        robots.parse([])
    return robots


def _open(url: str) -> HTTPResponse:
    response: HTTPResponse = urlopen(Request(url, headers={"User-Agent": AGENT}), timeout=PATIENCE)  # noqa: S310
    return response


def _spaced(words: list[str]) -> str:
    return " ".join(" ".join(words).split())


class _Reader(HTMLParser):
    """Collects title, words and links; scripts and styles are left out."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title: list[str] = []
        self.words: list[str] = []
        self.links: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links += [value for name, value in attrs if name == "href" and value]
        if tag in ("title", "script", "style"):
            self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "title":
            self.title.append(data)
        elif not self._inside:
            self.words.append(data)
