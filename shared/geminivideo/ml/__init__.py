"""What will be clicked: the documented heuristic, and the model that learns from actual clicks."""
