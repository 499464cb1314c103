"""The zoo: small models of the kinds that people train, on three tasks each."""
