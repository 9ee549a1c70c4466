"""The running program: composed here, supervised here."""
