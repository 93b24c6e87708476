"""The same tool, `add`, in each of the servers that are compared; each file is one process."""
