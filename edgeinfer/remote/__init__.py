"""A running `edgeinfer serve` and its models, asked over HTTP."""
