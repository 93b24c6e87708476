"""Fetch pages, documents and APIs of the public web as text that models can read."""
