"""What a search has found, drawn."""
