"""The training scheme of sections 3.2 and 4.1."""
