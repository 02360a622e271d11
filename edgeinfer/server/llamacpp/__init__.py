"""llama.cpp's own dialect, which llama.vim, llama.vscode and Continue speak."""
