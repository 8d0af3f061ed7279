"""The recorder that writes a run folder, and the reader that opens it."""
