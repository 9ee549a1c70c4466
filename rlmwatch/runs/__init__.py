"""The life of one run: pure values, transitions and the ports to what keeps them."""
