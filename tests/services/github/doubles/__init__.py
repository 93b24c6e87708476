"""What stands in for GitHub: descriptions, recordings and schemas that others made, and our own."""
