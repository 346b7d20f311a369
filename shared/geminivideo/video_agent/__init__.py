"""From an approved blueprint to checked video files: plan, draw, render, measure."""
