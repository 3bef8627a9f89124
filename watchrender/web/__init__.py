"""The page, the API and the stream: a view of the ledger and the gate, and orders handed to control."""
