"""`edgeinfer chat` in a terminal: Textual."""
