"""What a drill is told: scenarios, their files, the kinds of faults and their targets. Nothing of it runs anything."""
