"""What people look at: contact sheets of groups, and the state of a warehouse in words."""
