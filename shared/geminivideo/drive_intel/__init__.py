"""Drive Intel: is the upload a usable video, where are its cuts, and what is in each scene."""
