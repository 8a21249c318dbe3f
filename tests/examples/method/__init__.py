"""Images that drift to the mean of their class: a method of one's own."""
