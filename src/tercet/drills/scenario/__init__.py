"""The input of a drill: scenarios, their files, the kinds of fault and their targets. Nothing here runs anything."""
