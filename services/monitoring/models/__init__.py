"""What the tools return, a module for each subject."""
