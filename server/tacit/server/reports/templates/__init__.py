"""What the forms of a report are made of: a page, its style, and a typeset document."""
