"""The groups of commands of ``geminivideo``, and what they share."""
