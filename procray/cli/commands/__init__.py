"""What users type, one file a group: words and options; what a command does is imported when it is called."""
