"""What several commands share: arguments, notes on standard error, tables as text."""
