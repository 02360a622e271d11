// Placeholder so that the static library has an object.
