"""Random faults, round after round, under a continuous load: drawn, provoked, judged, and summed up."""
