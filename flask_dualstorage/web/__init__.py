"""What a browser or another program reaches: the blueprint, its pages, and what templates may ask."""
