"""The bridged servers: their processes, what is said to them in either era, and who gets which."""
