"""Second Read: how one model is made, from image files to a served prediction."""
