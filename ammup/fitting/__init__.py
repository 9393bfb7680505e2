"""What the numbers say: theory and fits. No torch in here."""
