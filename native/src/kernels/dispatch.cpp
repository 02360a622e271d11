// Chooses the kernel table of this machine.
