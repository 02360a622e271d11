"""What can run a model: the native engine behind one interface."""
