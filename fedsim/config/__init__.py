"""What a configuration may say, checked, and where it comes from. It knows components by name only."""
