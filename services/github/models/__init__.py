"""What the tools return; common.py has what all of them share, the rest is by subject."""
