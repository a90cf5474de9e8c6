"""What a method has to be better than, computed from a run's own splits by simple means; a file each."""
