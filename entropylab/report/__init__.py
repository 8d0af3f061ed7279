"""The self-contained report: one HTML file, or Markdown with its figures."""
