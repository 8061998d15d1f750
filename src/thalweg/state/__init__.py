"""What must survive: files of state named by a manifest."""
