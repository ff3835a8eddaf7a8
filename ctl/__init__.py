"""Placeholder, filled in by the code that follows."""
