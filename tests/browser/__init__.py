"""A real Chromium on the example app, and the screenshots of the docs."""
