"""Which parts of an image move a model's answer, and whether a picture of that is to be believed."""
