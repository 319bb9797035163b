"""What users call: the loop, the map, steps and workflows."""
