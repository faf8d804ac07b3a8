"""The bundle: its directory, the contract in it, and the records that it holds."""
