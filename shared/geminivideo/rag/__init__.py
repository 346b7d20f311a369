"""The index of winners: Creative DNA, its directions, and the search over them."""
