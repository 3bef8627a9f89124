"""watchrender on this machine: is it fit (doctor), and how is it started at boot (systemd, launchd, Task Scheduler)."""
