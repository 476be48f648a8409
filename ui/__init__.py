"""Front ends: the web page, the command line, and the one place where all parts are put together."""
