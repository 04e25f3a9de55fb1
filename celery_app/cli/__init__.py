"""The console command `ai-agent`."""
