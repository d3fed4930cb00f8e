"""What a drill is told: scenarios, their files, and the targets that they name. Knows nothing of how a drill runs."""
