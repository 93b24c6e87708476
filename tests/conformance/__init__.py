"""The fixture server of the official conformance suite, and the runs of the suite against it."""
