"""Shows a judged drill: in the terminal (terminal.py) and as one HTML file (page.py)."""
