"""Public layouts of labelled images, one a file, and the one that recognises which it is."""
