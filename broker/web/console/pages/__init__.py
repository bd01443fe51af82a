"""Pages: one file each, with the view model and the handlers."""
