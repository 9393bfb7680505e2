"""The statements of the paper as executable claims, with verdicts and baselines."""
