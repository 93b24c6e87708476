"""What may be fetched: rules on URLs (`urls`) and on addresses (`addresses`), without any I/O."""
