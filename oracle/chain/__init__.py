"""The chain as the node, the client and the devnet reach it."""
