"""Reports of results: tables for a terminal and the documentation, figures, and the HTML page."""
