"""Recurrent layers, cells and state-space scans."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from zoo_parts.case import Group, Problem
from zoo_parts.constructs.common import sequences

recurrent = Group("recurrent layers")


class Tagger(nn.Module):
    """A projection, a recurrent layer and a head on the last state."""

    def __init__(self, kind: type[nn.RNNBase], width: int = 8, **options: Any) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.recurrent = kind(8, width, batch_first=True, **options)
        size = options.get("proj_size") or width
        self.body = nn.Linear(size * (1 + self.recurrent.bidirectional), 8)
        self.out = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of each sequence."""
        hidden, _ = self.recurrent(torch.tanh(self.first(x)))
        return self.out(torch.relu(self.body(hidden[:, -1])))


class Packed(Tagger):
    """Sequences of different lengths."""

    def forward(self, x: Tensor) -> Tensor:
        """Scores from packed sequences."""
        lengths = torch.tensor([5, 5, 4, 4, 3, 3, 2, 2])
        packed = pack_padded_sequence(torch.tanh(self.first(x)), lengths, batch_first=True)
        hidden, _ = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True)
        return self.out(torch.relu(self.body(hidden.mean(1))))


class LearnedState(Tagger):
    """A trained initial state, expanded over the batch."""

    def __init__(self) -> None:
        super().__init__(nn.GRU)
        self.start = nn.Parameter(torch.randn(1, 1, 8))

    def forward(self, x: Tensor) -> Tensor:
        """Scores from the last state."""
        _, last = self.recurrent(torch.tanh(self.first(x)), self.start.expand(1, len(x), 8).contiguous())
        return self.out(torch.relu(self.body(last[0])))


class Stateful(Tagger):
    """Carries its state from batch to batch, detached (truncated backpropagation)."""

    def __init__(self) -> None:
        super().__init__(nn.GRU)
        self.state: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Scores; the state is kept."""
        state = None if self.state is None else self.state.detach()
        hidden, self.state = self.recurrent(torch.tanh(self.first(x)), state)
        return self.out(torch.relu(self.body(hidden[:, -1])))


class Cells(nn.Module):
    """A loop over the steps of a cell."""

    def __init__(self, cell: type[nn.Module]) -> None:
        super().__init__()
        self.first, self.cell, self.out = nn.Linear(6, 8), cell(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the last state."""
        state: Any = None
        for step in torch.tanh(self.first(x)).unbind(1):
            state = self.cell(step, state)
        return self.out(state[0] if isinstance(state, tuple) else state)


class OwnRecurrence(nn.Module):
    """A recurrence that is written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.states, self.out = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """tanh(W x + U h), step by step."""
        driven = self.inputs(x)
        state = x.new_zeros(len(x), 8)
        for i in range(x.shape[1]):
            state = torch.tanh(driven[:, i] + self.states(state))
        return self.out(state)


class Scan(nn.Module):
    """A selective state-space layer with a cumulative scan."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gates, self.mix, self.out = (nn.Linear(a, b) for a, b in ((6, 8), (8, 8), (8, 8), (8, 4)))
        self.decay = nn.Parameter(torch.linspace(-2, 0, 8))

    def forward(self, x: Tensor) -> Tensor:
        """Decaying sums of gated inputs, with a skip."""
        z = self.first(x)
        rates = torch.nn.functional.softplus(self.gates(z)) * self.decay.exp()
        total = rates.cumsum(1)
        scanned = torch.cumsum(z * rates * total.clamp(max=8).exp(), 1) * (-total).exp()
        return self.out(torch.relu(z + self.mix(scanned)).mean(1))


class EncoderDecoder(nn.Module):
    """A sequence-to-sequence net that feeds back its own output."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.cell = nn.GRU(6, 8, batch_first=True), nn.GRUCell(4, 8)
        self.body, self.out = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of the scores of three steps."""
        state = self.encoder(x)[1][0]
        scores = [x.new_zeros(len(x), 4)]
        for _ in range(3):
            state = self.cell(scores[-1].softmax(1), state)
            scores.append(self.out(torch.relu(self.body(state))))
        return torch.stack(scores).sum(0)


TAGGERS: dict[str, Any] = {
    "lstm": lambda: Tagger(nn.LSTM),
    "gru": lambda: Tagger(nn.GRU),
    "rnn_tanh": lambda: Tagger(nn.RNN),
    "rnn_relu": lambda: Tagger(nn.RNN, nonlinearity="relu"),
    "lstm_of_two_layers": lambda: Tagger(nn.LSTM, num_layers=2),
    "lstm_with_dropout": lambda: Tagger(nn.LSTM, num_layers=2, dropout=0.3).train(),
    "lstm_bidirectional": lambda: Tagger(nn.LSTM, bidirectional=True),
    "lstm_projected": lambda: Tagger(nn.LSTM, proj_size=4),
    "gru_without_bias": lambda: Tagger(nn.GRU, bias=False),
    "packed_sequences": lambda: Packed(nn.LSTM),
    "gru_with_learned_state": LearnedState,
    "gru_that_keeps_its_state": Stateful,
    "lstm_cell": lambda: Cells(nn.LSTMCell),
    "gru_cell": lambda: Cells(nn.GRUCell),
    "rnn_cell": lambda: Cells(nn.RNNCell),
    "own_recurrence": OwnRecurrence,
    "state_space_scan": Scan,
    "sequence_to_sequence": EncoderDecoder,
}
for _name, _make in TAGGERS.items():
    recurrent.add(_name, lambda make=_make: sequences(make()))


@recurrent.case
def lstm_in_float64() -> Problem:
    problem = sequences(Tagger(nn.LSTM).double())
    return replace(problem, inputs=problem.inputs.double())


@recurrent.case
def lstm_with_weight_norm() -> Problem:
    model = Tagger(nn.LSTM)
    nn.utils.weight_norm(model.body)
    nn.utils.spectral_norm(model.first)
    return sequences(model)
