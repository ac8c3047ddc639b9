"""What goes with other packages; each module here needs the one that it is named for."""
