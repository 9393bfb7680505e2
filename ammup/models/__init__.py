"""What is measured: families, initialization and depth units."""
