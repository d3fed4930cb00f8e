"""Whose nodes these are: who comes with other secrets, or without knowing of a lost site, is refused."""
