"""What searches in logs are measured on, and the peer that finds templates in them."""
