"""What is kept closed: keys, and what is sealed with them."""
