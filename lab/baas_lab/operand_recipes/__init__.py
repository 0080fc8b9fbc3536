"""What `baas_lab.operands` needs to rebuild upstream operands: one folder an image (its Dockerfile), and where bits come from."""
