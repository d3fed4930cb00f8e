"""The part of tercet that runs on a node: it is sent over standard input, takes a request, and answers with JSON.

Nothing of it stays on the node, and it needs only Python and its standard library there. converge/node.py sends it,
together with nodeside/endpoint.py and api.py.

    loader    makes modules of the sources that were sent
    main      takes the request, gives the answer
    requests  programs and HTTP requests, side by side, each ended by its own deadline
    facts     what is on the node: paths, units
    stamps    what each unit was started with; why no change is lost
    changes   one step of the plan, carried out
"""
