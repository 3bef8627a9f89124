"""Everything about nexrender and After Effects: found, started, read, judged."""
