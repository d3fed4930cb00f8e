"""Records on the nodes with which an operator is refused whose secrets or lost sites differ from the platform's."""
