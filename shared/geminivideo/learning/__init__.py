"""What a cycle learns: accuracy, patterns, winners, and what accounts may share. Pure decisions."""
