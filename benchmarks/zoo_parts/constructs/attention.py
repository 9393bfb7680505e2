"""Attention, transformers, embeddings and token inputs."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_parts.case import Group, Problem
from zoo_parts.constructs.common import Residual, sequences, tokens

attention = Group("attention")
embeddings = Group("embeddings")


class Encoded(nn.Module):
    """A projection, a body on sequences of width 8, the mean, a readout."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.first, self.body, self.out = nn.Linear(6, 8), nn.Sequential(*body), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of each sequence."""
        return self.out(self.body(self.first(x)).mean(1))


class Attention(nn.Module):
    """Attention written with one of the ways of torch.

    Args:
        way: "product", "function", "causal", "dropout", "bias", "einsum", ….
    """

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.projections, self.merge = way, nn.Linear(8, 24), nn.Linear(8, 8)
        self.bias = nn.Parameter(torch.randn(2, 5, 5))

    def forward(self, x: Tensor) -> Tensor:
        """X + attention(x)."""
        q, k, v = self.projections(x).view(*x.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4)
        mixed = {
            "product": lambda: torch.softmax(q @ k.transpose(-1, -2) / 2, -1) @ v,
            "function": lambda: F.scaled_dot_product_attention(q, k, v),
            "causal": lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True),
            "dropout": lambda: F.scaled_dot_product_attention(q, k, v, dropout_p=0.2),
            "bias": lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias),
            "logits plus bias": lambda: torch.softmax(q @ k.transpose(-1, -2) / 2 + self.bias, -1) @ v,
            "masked fill": lambda: self._masked(q, k) @ v,
            "einsum": lambda: self._einsum(q, k, v),
            "linear": lambda: F.elu(q) @ (F.elu(k).transpose(-1, -2) @ v),
            "rotary": lambda: F.scaled_dot_product_attention(_rotated(q), _rotated(k), v),
            "normalized": lambda: F.scaled_dot_product_attention(F.normalize(q, dim=-1), F.normalize(k, dim=-1), v),
        }[self.way]()
        return x + self.merge(mixed.transpose(1, 2).reshape_as(x))

    @staticmethod
    def _masked(q: Tensor, k: Tensor) -> Tensor:
        n = q.shape[-2]
        hidden = torch.ones(n, n, dtype=torch.bool).triu(1)
        return (q @ k.transpose(-1, -2) / 2).masked_fill(hidden, -math.inf).softmax(-1)

    @staticmethod
    def _einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        weights = torch.einsum("bhid,bhjd->bhij", q, k).div(2).softmax(-1)
        return torch.einsum("bhij,bhjd->bhid", weights, v)


def _rotated(x: Tensor) -> Tensor:
    n, width = x.shape[-2:]
    angles = torch.arange(n)[:, None] / 10 ** torch.arange(width // 2)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], -1)


class MultiHead(nn.Module):
    """nn.MultiheadAttention, whose output is a tuple."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.attention, self.weights = nn.MultiheadAttention(8, 2, batch_first=True, **options), True

    def forward(self, x: Tensor) -> Tensor:
        """X + attention(x)."""
        return x + self.attention(x, x, x, need_weights=self.weights)[0]


class TupleAttention(nn.Module):
    """A module of the user's that returns (output, weights), as in transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mixture and the weights."""
        weights = torch.softmax(self.q(x) @ self.k(x).transpose(1, 2) / 3, -1)
        return weights @ self.v(x), weights


class TupleBlock(nn.Module):
    """A chain of modules that return tuples."""

    def __init__(self) -> None:
        super().__init__()
        self.attentions, self.mixers = nn.ModuleList(), nn.ModuleList()
        for _ in range(2):
            self.attentions.append(TupleAttention())
            self.mixers.append(nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)))

    def forward(self, x: Tensor) -> Tensor:
        """Two blocks."""
        for attention_layer, mixer in zip(self.attentions, self.mixers, strict=True):
            x = x + attention_layer(x)[0]
            x = x + mixer(x)
        return x


class TupleChain(nn.Module):
    """Attention that is not a residual: its module is the weight layer of the path."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.then = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        """Attention, then a layer."""
        mixed, _weights = self.attention(x, x, x)
        return torch.relu(self.then(mixed))


class Decoder(nn.Module):
    """nn.TransformerDecoder over an encoded memory."""

    def __init__(self) -> None:
        super().__init__()
        encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        decoder = nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.encoder, self.decoder = nn.TransformerEncoder(encoder, 1), nn.TransformerDecoder(decoder, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The second half attends to the first."""
        return self.decoder(x[:, 2:], self.encoder(x[:, :2]))


def _encoder(*, train: bool, **options: Any) -> Problem:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **options)
    stack = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return sequences(Encoded(stack).train(train))


for _way in ("product", "function", "causal", "dropout", "bias", "logits plus bias", "masked fill", "einsum", "linear",
             "rotary", "normalized"):  # fmt: skip
    attention.add(f"attention_{_way.replace(' ', '_')}", lambda way=_way: sequences(Encoded(Attention(way))))
attention.add("multihead_attention", lambda: sequences(Encoded(MultiHead())))
attention.add("multihead_attention_with_dropout", lambda: sequences(Encoded(MultiHead(dropout=0.2)).train()))
attention.add("multihead_attention_kv", lambda: sequences(Encoded(MultiHead(add_bias_kv=True, add_zero_attn=True))))
attention.add("multihead_attention_without_residual", lambda: sequences(Encoded(TupleChain())))
attention.add("modules_that_return_tuples", lambda: sequences(Encoded(TupleBlock())))
attention.add("transformer_encoder", lambda: _encoder(train=True, dropout=0.0))
attention.add("transformer_encoder_with_dropout", lambda: _encoder(train=True, dropout=0.1))
attention.add("transformer_encoder_fast_path", lambda: _encoder(train=False))
attention.add("transformer_encoder_norm_first", lambda: _encoder(train=False, norm_first=True, activation="gelu"))
attention.add("transformer_decoder", lambda: sequences(Encoded(Decoder())))


@attention.case
def cross_attention_with_latents() -> Problem:
    class Latents(nn.Module):
        """Learned queries, as in Perceiver and class attention."""

        def __init__(self) -> None:
            super().__init__()
            self.queries, self.attention = (
                nn.Parameter(torch.randn(1, 3, 8)),
                nn.MultiheadAttention(8, 2, batch_first=True),
            )

        def forward(self, x: Tensor) -> Tensor:
            queries = self.queries.expand(len(x), -1, -1)
            return queries + self.attention(queries, x, x, need_weights=False)[0]

    return sequences(Encoded(Latents(), Residual(nn.Linear(8, 8))))


@attention.case
def padding_mask_of_nested_sequences() -> Problem:
    class Padded(nn.Module):
        """TransformerEncoder with a padding mask, which may take nested tensors."""

        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2)

        def forward(self, x: Tensor) -> Tensor:
            lengths = torch.tensor([5, 4, 3, 5, 4, 3, 5, 4])
            return self.encoder(x, src_key_padding_mask=torch.arange(5) >= lengths[:, None])[:, :3]

    return sequences(Encoded(Padded()).eval())


class Tokens(nn.Module):
    """An embedding, a body and a readout.

    Args:
        embedding: maps indices (B, T) to (B, T, 8) or, a bag, to (B, 8).
        body: the body; a linear layer and an activation by default.
    """

    def __init__(self, embedding: nn.Module, body: nn.Module | None = None) -> None:
        super().__init__()
        self.embedding, self.body = embedding, body or nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.out = nn.Linear(8, 4)

    def forward(self, indices: Tensor) -> Tensor:
        """Scores of each sequence."""
        x = self.body(self.embedding(indices))
        return self.out(x.mean(1) if x.ndim == 3 else x)


class Tied(Tokens):
    """The readout is the embedding, transposed."""

    def __init__(self) -> None:
        super().__init__(nn.Embedding(12, 8))
        self.out = nn.Linear(8, 12, bias=False)
        self.out.weight = self.embedding.weight


class OneHot(nn.Module):
    """One-hot vectors times a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Linear(12, 8)

    def forward(self, indices: Tensor) -> Tensor:
        """The rows."""
        return self.table(F.one_hot(indices, 12).to(self.table.weight))


class Positions(nn.Module):
    """Token and position embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(12, 8), nn.Parameter(torch.randn(5, 8))

    def forward(self, indices: Tensor) -> Tensor:
        """Their sum."""
        return self.tokens(indices) * 8**0.5 + self.positions


EMBEDDINGS: dict[str, Any] = {
    "embedding": lambda: Tokens(nn.Embedding(12, 8)),
    "embedding_sparse": lambda: Tokens(nn.Embedding(12, 8, sparse=True)),
    "embedding_max_norm": lambda: Tokens(nn.Embedding(12, 8, max_norm=1.0)),
    "embedding_padding": lambda: Tokens(nn.Embedding(12, 8, padding_idx=0)),
    "embedding_scaled_by_frequency": lambda: Tokens(nn.Embedding(12, 8, scale_grad_by_freq=True)),
    "embedding_bag_sum": lambda: Tokens(nn.EmbeddingBag(12, 8, mode="sum")),
    "embedding_bag_mean_sparse": lambda: Tokens(nn.EmbeddingBag(12, 8, mode="mean", sparse=True)),
    "embedding_bag_max": lambda: Tokens(nn.EmbeddingBag(12, 8, mode="max")),
    "embedding_tied_to_readout": Tied,
    "one_hot_tokens": lambda: Tokens(OneHot()),
    "token_and_position_embeddings": lambda: Tokens(Positions()),
    "frozen_embedding": lambda: Tokens(nn.Embedding.from_pretrained(torch.randn(12, 8))),
    "token_transformer": lambda: Tokens(Positions(), nn.Sequential(Attention("causal"), Attention("product"))),
    "token_convolution": lambda: Tokens(nn.Embedding(12, 8), nn.Sequential(Residual(nn.Linear(8, 8)), nn.LayerNorm(8))),
}
for _name, _make in EMBEDDINGS.items():
    embeddings.add(_name, lambda make=_make: tokens(make()))
