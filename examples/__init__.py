"""Runnable stories: each `main()` shows one thing and asserts that it is so."""
