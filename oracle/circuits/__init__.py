"""A model becomes a proving circuit and a verifier contract."""
