"""The example's own functions, called as plain functions: the crawler's manners, the embedding, the neighbours."""

from __future__ import annotations

import doctest
import functools
import http.server
import importlib
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "site_embeddings"
MODULES = ("crawl", "embed", "pipeline")


@pytest.fixture
def example(monkeypatch):
    """Imports a module of the example, which is nobody else's afterwards."""
    monkeypatch.syspath_prepend(EXAMPLE)
    yield importlib.import_module
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def serve(tmp_path):
    """Serves files by their names and contents; the address, and the paths that were asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    servers = []

    def start(**files):
        for name, text in files.items():
            (tmp_path / name.replace("_", ".")).write_text(text)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path)))
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/"

    yield start, asked
    for server in servers:
        server.shutdown()
        server.server_close()


def link(*names):
    """A page that leads to these."""
    return f"<title>{names}</title>" + "".join(f"<a href='{name}'>{name}</a> " for name in names)


def names(pages, url):
    """Their paths, in order."""
    return [page.url.removeprefix(url) for page in pages]


def test_the_crawlers_examples_are_true(example):
    """What the docstrings of the crawler say is so."""
    failed, tried = doctest.testmod(example("crawl"))
    assert (failed, tried) == (0, 1)


def test_a_crawl_goes_by_depth_in_the_order_of_links(example, serve):
    """Pages come breadth first, in the order of links, no deeper and no more than asked for, each once."""
    start, _ = serve
    url = start(index_html=link("b.html", "a.html"), a_html=link("c.html"), b_html=link("/", "d.html#x"), d_html="deep")
    crawl = example("crawl").crawl
    assert names(crawl(url, max_depth=1, limit=9), url) == ["", "b.html", "a.html"]
    assert names(crawl(url, max_depth=2, limit=9), url) == ["", "b.html", "a.html", "d.html"]
    assert names(crawl(url, max_depth=2, limit=2), url) == ["", "b.html"]


def test_a_crawl_stays_on_its_host_and_heeds_robots(example, serve):
    """What robots.txt forbids is not asked for, nor is another host."""
    start, asked = serve
    robots = "User-agent: *\nDisallow: /secret.html\n"
    url = start(robots_txt=robots, index_html=link("secret.html", "http://localhost:9/", "mailto:me@x", "open.html"))
    (found, *_) = list(example("crawl").crawl(url, max_depth=1, limit=9))
    assert "secret.html" in found.text
    assert asked == ["/robots.txt", "/", "/open.html", "/open.html"]  # the last says that it is not there


def test_a_page_that_cannot_be_read_is_skipped_and_said_so(example, serve, capsys):
    """A dead link does not end a crawl; a first page that is not there does."""
    start, _ = serve
    url = start(index_html=link("gone.html"))
    crawl = example("crawl").crawl
    assert names(crawl(url, max_depth=1, limit=9), url) == [""]
    assert capsys.readouterr().out == f"skipped {url}gone.html: HTTP Error 404: File not found\n"
    with pytest.raises(OSError, match="404"):
        list(crawl(f"{url}gone.html", max_depth=1, limit=9))
    with pytest.raises(ValueError, match="'ftp://x/' is not a web address: it must begin with http:// or https://"):
        list(crawl("ftp://x/", max_depth=1, limit=9))


def test_pages_that_say_the_same_are_one(example, serve):
    """A page under two addresses is taken once; what is no HTML is not taken."""
    start, _ = serve
    url = start(index_html=link("index.html", "data.csv", "a.html"), data_csv="1,2", a_html="other words")
    assert names(example("crawl").crawl(url, max_depth=1, limit=9), url) == ["", "a.html"]


def test_the_embedding_is_the_same_every_time(example):
    """Unit vectors of float32, with as many dimensions as there can be, and the same bytes again."""
    words = [f"word{first}{second}" for first in "abc" for second in "defgh"]
    texts = [" ".join(words[number % 15 : number % 15 + 3]) for number in range(30)]
    embed = example("embed")
    one, two = embed.tfidf_svd(texts, 8), embed.tfidf_svd(texts, 8)
    assert one.dtype == np.float32
    assert one.tobytes() == two.tobytes()
    assert np.allclose(np.linalg.norm(one, axis=1), 1.0)
    with pytest.raises(ValueError, match="at least two texts are needed to compare any, not 1"):
        embed.tfidf_svd(["alone"], 8)


def test_neighbours_are_ranked_and_never_oneself(example):
    """Each page has its k nearest, nearest first, never itself, and fewer where there are fewer."""
    vectors = example("embed").unit([[1, 0], [1, 0.1], [0, 1]])
    saved = pd.DataFrame({"url": list("abc"), "title": list("ABC"), "vector": list(vectors)})
    found = example("pipeline").neighbours(saved, k=5)
    assert found[["title", "rank", "neighbour"]].to_numpy().tolist() == [
        ["A", 1, "B"],
        ["A", 2, "C"],
        ["B", 1, "A"],
        ["B", 2, "C"],
        ["C", 1, "B"],
        ["C", 2, "A"],
    ]
    assert found["similarity"].tolist()[:2] == [pytest.approx(0.995), 0.0]
