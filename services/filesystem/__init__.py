"""Files for models: read, search, change and watch what lies below an operator's directories."""
