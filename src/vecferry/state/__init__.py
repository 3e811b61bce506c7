"""The ledger: the durable memory of runs. `vecferry.state.ledger` needs SQLAlchemy; import it where it is used."""
