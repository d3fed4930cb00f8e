"""The part of tercet that runs on a node: sent over standard input, one request in, one JSON document out.

Nothing of it stays on the node. It imports the standard library alone, and of that only what starts fast: a
plan that finds nothing to do is mostly this program's start on every node. converge/node.py sends it.

    requests  programs and HTTP requests, side by side, each ended by its own deadline
    facts     what is on the node: paths, units
    stamps    what each unit was started with; why no change is lost
    changes   one step of the plan, carried out
"""
