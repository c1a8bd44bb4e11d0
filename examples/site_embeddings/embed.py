"""How text becomes vectors: `Embedder`, which lives on the target as an actor, and what it does.

The heavy libraries are imported inside, because only the target needs to have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]

SEED = 7
WORD = "[A-Za-z]{3,}"
MANY = 20  # so many texts make it worth while to leave out words that nearly all or only one of them have


class Embedder:
    """What turns texts into vectors by one model, which stays loaded from call to call.

    `model` is "tfidf-svd", or the name of one that sentence-transformers loads.
    """

    def __init__(self, model: str, dimensions: int) -> None:
        self._dimensions = dimensions
        self._encoder = None if model == "tfidf-svd" else encoder(model)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit vector a text."""
        if self._encoder is None:
            return tfidf_svd(texts, self._dimensions)
        return unit(self._encoder.encode(list(texts), batch_size=64, show_progress_bar=True))


def tfidf_svd(texts: Sequence[str], dimensions: int) -> Vectors:
    """Latent semantic analysis: TF-IDF, then a truncated SVD with a fixed seed.

    Gives unit vectors of shape (texts, dimensions), of fewer dimensions where there are too few texts or words.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    if len(texts) <= 1:
        raise ValueError(f"at least two texts are needed to compare any, not {len(texts)}")
    fewest, most = (2, 0.3) if len(texts) >= MANY else (1, 1.0)
    words = TfidfVectorizer(sublinear_tf=True, stop_words="english", token_pattern=WORD, min_df=fewest, max_df=most)
    weights = words.fit_transform(texts)
    print(f"{weights.shape[0]} texts have {weights.shape[1]} words that tell them apart", flush=True)
    svd = TruncatedSVD(max(1, min(dimensions, *(side - 1 for side in weights.shape))), random_state=SEED)
    vectors = svd.fit_transform(weights)
    print(f"{vectors.shape[1]} dimensions hold {svd.explained_variance_ratio_.sum():.0%} of the variance", flush=True)
    return unit(vectors)


def encoder(model: str) -> Any:
    """A sentence-transformers model, on the GPU where the target has one."""
    import torch
    from sentence_transformers import SentenceTransformer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"{model} on {device}", flush=True)
    return SentenceTransformer(model, device=device)


def unit(vectors: Any) -> Vectors:
    """The same directions at length 1, so that a dot product is the cosine; nothing stays nothing."""
    rows = np.asarray(vectors, dtype=np.float32)
    lengths: Vectors = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
    return rows / lengths
