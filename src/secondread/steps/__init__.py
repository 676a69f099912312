"""One verb a file: what the entry points do."""
