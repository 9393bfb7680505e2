"""What must stay true: the paper's statements as executable claims, their baselines, and pytest's side of both."""
