"""The record of all jobs, and the database beneath it that survives kills, full disks and threads."""
