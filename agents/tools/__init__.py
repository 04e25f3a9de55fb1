"""The tools that come with this package, and the catalogue of all that there are."""
