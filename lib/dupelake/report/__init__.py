"""What people look at: contact sheets and summaries."""
