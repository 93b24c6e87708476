"""The tool servers, one folder each; none imports another, and core imports none of them."""
