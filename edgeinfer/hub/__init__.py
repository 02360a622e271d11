"""Where models come from: names, files, downloads."""
