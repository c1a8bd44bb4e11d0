"""Which pages of a site are alike? Plain functions: crawl, embed on the GPU host, save, compare.

Nothing in here knows how it is run: every function can be called with a DataFrame, in a notebook or in a test; where it
takes an `Actor[Embedder]`, an `Embedder` will do.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from crawl import crawl
from drawbar import Actor, Env, asset
from embed import Embedder, Vectors

GPU_HOST = Env("scikit-learn", "pandas", "pyarrow")


def pages(base_url: str, max_depth: int = 1, limit: int = 400) -> pd.DataFrame:
    """Every page of the site that is at most `max_depth` links away: url, title, text."""
    rows = []
    for page in crawl(base_url, max_depth=max_depth, limit=limit):
        rows.append((page.url, page.title, page.text))
        if len(rows) % 100 == 0:
            print(f"{len(rows)} pages", flush=True)
    return pd.DataFrame(rows, columns=["url", "title", "text"])


@asset(target="gpu", env=GPU_HOST)
def embedder(model: str = "tfidf-svd", dimensions: int = 64) -> Actor[Embedder]:
    """The model, loaded once on the target, where it answers until nobody has asked it for a while."""
    return Actor(Embedder, model, dimensions)


@asset(target="gpu", env=GPU_HOST)
def embeddings(pages: pd.DataFrame, embedder: Actor[Embedder]) -> pd.DataFrame:
    """One unit vector a page."""
    vectors = embedder.embed(pages["text"].tolist())
    print(f"{len(vectors)} pages have vectors of {vectors.shape[1]} dimensions", flush=True)
    return pages[["url", "title"]].assign(vector=list(vectors))


@asset(path="out/embeddings.parquet")
def saved_embeddings(embeddings: pd.DataFrame) -> pd.DataFrame:
    """The vectors where others find them: a copy of what is in the store, put there when it is whole."""
    return embeddings


def neighbours(saved_embeddings: pd.DataFrame, k: int = 3) -> pd.DataFrame:
    """The `k` pages most like each page: title, rank from 1, neighbour, similarity (the cosine)."""
    titles = saved_embeddings["title"].to_numpy()
    similarity = _similarity(np.stack(saved_embeddings["vector"].to_list()))
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, : min(k, len(titles) - 1)]
    return pd.DataFrame(
        {
            "title": np.repeat(titles, nearest.shape[1]),
            "rank": np.tile(np.arange(1, nearest.shape[1] + 1), len(titles)),
            "neighbour": titles[nearest].ravel(),
            "similarity": np.take_along_axis(similarity, nearest, axis=1).ravel().round(3),
        }
    )


def _similarity(vectors: Vectors) -> Vectors:
    """The cosine between every two of some unit vectors; a page is no neighbour of its own."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1.0)
    return cosines
