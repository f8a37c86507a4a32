"""What a reader gets: the page, its tables, the same in plain text, and the files of a report."""
