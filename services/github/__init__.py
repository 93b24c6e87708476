"""GitHub for models: read repositories, issues, pull requests and runs, and change them safely."""
