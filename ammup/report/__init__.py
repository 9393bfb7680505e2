"""Reports of results: tables for a terminal and README.md, figures, and the HTML page."""
