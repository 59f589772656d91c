"""What people look at: the report as a page, contact sheets, pair sheets, summaries."""
