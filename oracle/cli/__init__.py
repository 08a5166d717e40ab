"""The `oracle` command: thin layers of options and tables over the package."""
