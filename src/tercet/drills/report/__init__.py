"""A judged drill as a picture: in the terminal (terminal.py) and as one HTML file (page.py)."""
