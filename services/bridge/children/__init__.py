"""The processes of bridged servers, and what is said to them."""
