"""Random faults, round after round, under a load that goes on: drawn, provoked, judged, and summed up."""
