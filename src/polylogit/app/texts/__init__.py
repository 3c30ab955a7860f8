"""What commands print for a person, in the languages they speak; numbers come from below."""
