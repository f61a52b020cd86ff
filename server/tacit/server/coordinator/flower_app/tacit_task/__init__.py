"""The Flower app bundle; the code it calls is the installed `tacit` package."""
